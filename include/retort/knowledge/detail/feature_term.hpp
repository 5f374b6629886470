// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by terms on one feature per network: taps, a learnable part, errors that name them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <typeinfo>
#include <utility>

#include <retort/detail/check.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/connector/concept.hpp>
#include <retort/knowledge/connector/identity.hpp>
#include <retort/knowledge/detail/learnable.hpp>
#include <retort/knowledge/detail/tap_pair.hpp>

namespace retort::detail {

/// A term on one feature per network. `Parts` defines the computation:
///
/// | expression                              | meaning                                                   |
/// |-----------------------------------------|-----------------------------------------------------------|
/// | `parts.sized()`                         | whether the options give all sizes                        |
/// | `parts.build(student_sizes, teacher_sizes)` | the holder of the learnable part                      |
/// | `parts.loss(module, student, teacher)`  | the loss of two features                                  |
/// | `parts.check()`                         | throws ConfigError for invalid options                  |
///
/// A derived class with its own `operator()` needs no `loss`.
template <class StudentTap, class TeacherTap, class Parts>
class FeatureTerm {
  public:
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    std::string name() const { return taps_.name(); }
    bool prepared() const { return learnable_.built(); }
    std::shared_ptr<torch::nn::Module> module() const { return learnable_.module(); }
    void check() const { parts_.check(); }

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B&) {
        const at::Tensor feature = taps_.student(student);
        if (!prepared()) build(feature.sizes(), taps_.teacher(*teacher).sizes());
        learnable_.follow(feature);
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        const at::Tensor feature = taps_.student(student);
        const at::Tensor goal = taps_.teacher(teacher);
        return naming([&] { return parts_.loss(*learnable_.operator->(), feature, goal); });
    }

  protected:
    FeatureTerm(const char* kind, StudentTap student, TeacherTap teacher, Parts parts)
        : kind_(kind), taps_(kind, std::move(student), std::move(teacher)), parts_(std::move(parts)) {
        if (parts_.sized()) build({}, {});
    }

    /// Calls `compute()`; adds the taps to its errors.
    template <class Compute>
    at::Tensor naming(Compute&& compute) const {
        return naming_taps(taps_, kind_, std::forward<Compute>(compute));
    }

    void build(at::IntArrayRef from, at::IntArrayRef to) {
        // The type distinguishes terms whose taps have no names.
        learnable_.build(name() + typeid(FeatureTerm).name(), [&] { return parts_.build(from, to); });
    }

    const char* kind_;
    TapPair<StudentTap, TeacherTap> taps_;
    Parts parts_;
    Learnable<decltype(std::declval<const Parts&>().build(at::IntArrayRef(), at::IntArrayRef()))> learnable_;
};

/// `Loss(connector(student), teacher, options)`.
template <auto Loss, class Options, Connector C>
struct ConnectedLoss {
    C connector;
    Options options;

    bool sized() const { return connector.sized(); }
    auto build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        return connector.build(student, teacher);
    }
    template <class Module>
    at::Tensor loss(Module& module, const at::Tensor& student, const at::Tensor& teacher) const {
        const at::Tensor mapped = module.forward(student);
        try {
            return Loss(mapped, teacher, options);
        } catch (const ShapeError& error) {
            if (mapped.is_same(student)) throw;
            throw ShapeError(concat(error.what(), "; ", connector.name(), " gave ", shape_text(mapped),
                                    " for the student's ", shape_text(student)));
        }
    }
    void check() const {
        if constexpr (requires { options.check(); }) options.check();
    }
};

}  // namespace retort::detail
