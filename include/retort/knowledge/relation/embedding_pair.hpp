// SPDX-License-Identifier: BSL-1.0
/// \file
/// Two trained maps of a student's and a teacher's feature into a common space.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/learnable.hpp>
#include <retort/knowledge/detail/tap_pair.hpp>

namespace retort {

/// The options of an `EmbeddingPair`.
struct EmbeddingPairOptions {
    std::int64_t student = 0;  ///< width of the student's feature, flattened
    std::int64_t teacher = 0;  ///< width of the teacher's
    std::int64_t size = 128;   ///< of the embeddings
    bool normalize = false;    ///< embeddings of unit length
};

/// Linear maps of the student's and the teacher's feature to vectors of equal size.
class EmbeddingPairImpl : public torch::nn::Module {
  public:
    explicit EmbeddingPairImpl(const EmbeddingPairOptions& options)
        : torch::nn::Module("EmbeddingPair"),
          student_(register_module("student", torch::nn::Linear(options.student, options.size))),
          teacher_(register_module("teacher", torch::nn::Linear(options.teacher, options.size))),
          normalize_(options.normalize) {}

    at::Tensor student(const at::Tensor& feature) { return embedded(student_, "student", feature); }
    at::Tensor teacher(const at::Tensor& feature) { return embedded(teacher_, "teacher", feature); }

  private:
    at::Tensor embedded(torch::nn::Linear& map, const char* whose, const at::Tensor& feature) const {
        detail::check_defined("embedding", "a feature", feature);
        const at::Tensor flat = feature.dim() > 2 ? feature.flatten(1) : feature;
        if (flat.dim() != 2 || flat.size(0) == 0 || flat.size(1) != map->options.in_features()) {
            throw ShapeError(detail::concat("embedding: expected the ", whose, "'s feature [batch, ...] of ",
                                            map->options.in_features(), " elements a sample, found ",
                                            detail::shape_text(feature)));
        }
        const at::Tensor result =
            detail::at_least_float32(map->forward(detail::in_type(flat, map->weight.scalar_type())));
        return normalize_ ? detail::unit_rows(result) : result;
    }

    torch::nn::Linear student_, teacher_;
    bool normalize_;
};
/// Holder of `EmbeddingPairImpl`.
class EmbeddingPair : public torch::nn::ModuleHolder<EmbeddingPairImpl> {
  public:
    using torch::nn::ModuleHolder<EmbeddingPairImpl>::ModuleHolder;
    using Impl = EmbeddingPairImpl;
};

namespace detail {

/// The learnable part of an `EmbeddingTerm`: only the embeddings.
struct PlainEmbeddings {
    EmbeddingPair build(const EmbeddingPairOptions& options) const { return EmbeddingPair(options); }
    static EmbeddingPairImpl& embeddings(EmbeddingPairImpl& module) { return module; }
};

/// A term that compares embeddings of a student's and a teacher's feature.
/// \tparam Parts `build(options)` returns the holder of everything learnable or stateful, `embeddings(module)` the
/// embeddings in it
template <class StudentTap, class TeacherTap, class Parts = PlainEmbeddings>
class EmbeddingTerm {
  public:
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    std::string name() const { return taps_.name(); }
    bool prepared() const { return learnable_.built(); }
    std::shared_ptr<torch::nn::Module> module() const { return learnable_.module(); }

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B&) {
        const at::Tensor feature = taps_.student(student);
        if (!prepared()) {
            options_.student = rows(name(), "the student's feature", feature).size(1);
            options_.teacher = rows(name(), "the teacher's feature", taps_.teacher(*teacher)).size(1);
            learnable_.build(name(), [&] { return parts_.build(options_); });
        }
        learnable_.follow(feature);
    }

  protected:
    EmbeddingTerm(const char* kind, StudentTap student, TeacherTap teacher, EmbeddingPairOptions options,
                  Parts parts = {})
        : kind_(kind),
          taps_(kind, std::move(student), std::move(teacher)),
          options_(options),
          parts_(std::move(parts)) {}

    template <class Compute>
    at::Tensor naming(Compute&& compute) const {
        return naming_taps(taps_, kind_, std::forward<Compute>(compute));
    }
    /// The embeddings of both; the teacher's feature itself is a constant.
    template <class Student, class Teacher>
    std::pair<at::Tensor, at::Tensor> embedded(const Student& student, const Teacher& teacher) const {
        EmbeddingPairImpl& embeddings = Parts::embeddings(learned());
        return {embeddings.student(taps_.student(student)),
                embeddings.teacher(constant(taps_.teacher(teacher)))};
    }
    auto& learned() const { return *learnable_.operator->(); }
    const Parts& parts() const { return parts_; }

  private:
    const char* kind_;
    TapPair<StudentTap, TeacherTap> taps_;
    EmbeddingPairOptions options_;
    Parts parts_;
    Learnable<decltype(std::declval<const Parts&>().build(EmbeddingPairOptions{}))> learnable_;
};

}  // namespace detail
}  // namespace retort
