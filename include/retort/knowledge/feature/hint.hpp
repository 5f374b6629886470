// SPDX-License-Identifier: BSL-1.0
/// \file
/// Hints: the student's intermediate features, through a connector, shall equal the teacher's.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>

#include <memory>
#include <string>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/core/tap.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/connector/identity.hpp>

namespace retort {

/// Options of `Hint` and `functional::hint`.
struct HintOptions {
    Reduction reduction = Reduction::mean;  ///< elements are those of the feature
};

namespace functional {

/// Mean squared difference of two features.
///
/// Formula: \f$ \mathrm{mean} (F_s - F_t)^2 \f$.
/// Shapes: both [batch, ...], equal.
/// Gradient: to the student's feature; the teacher's is a constant.
/// Reductions: `mean` over all elements (default), `batchmean` (sum over the feature, mean over the samples),
/// `sum`, `none` (the mean of each sample). \throws ShapeError if the shapes differ.
inline at::Tensor hint(const at::Tensor& student, const at::Tensor& teacher,
                       const HintOptions& options = {}) {
    detail::check_alike("hint", "the student's feature", student, "the teacher's feature", teacher);
    if (student.dim() == 0 || student.numel() == 0) {
        throw ShapeError(detail::text("hint: expected features of shape [batch, ...], found ",
                                      detail::shape_text(student)));
    }
    const at::Tensor constant = detail::constant(teacher);
    switch (options.reduction) {
        case Reduction::mean:
            return at::mse_loss(student, constant);
        case Reduction::sum:
            return at::mse_loss(student, constant, at::Reduction::Sum);
        case Reduction::batchmean:
            return at::mse_loss(student, constant, at::Reduction::Sum) / student.size(0);
        case Reduction::none:
            break;
    }
    return at::mse_loss(student, constant, at::Reduction::None).reshape({student.size(0), -1}).mean(1);
}

}  // namespace functional

/// Mean squared difference of the student's feature, through a learnable connector, and the teacher's.
///
///     retort::Hint{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>, retort::Conv1x1{64,
///     256}}
///
/// Formula: \f$ \mathrm{mean} (r(F_s) - F_t)^2 \f$ with the connector r.
/// Gradient: to the student's feature and the connector.
/// Learnable: the connector; built at once where its options give its sizes, else from the first batch.
/// Source: Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015,
/// Eq. 3. There the hint is a first stage of its own (`Phases`); the loss is half the squared distance.
template <class StudentTap, class TeacherTap, Connector C = Identity>
class Hint {
  public:
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    explicit Hint(StudentTap student, TeacherTap teacher, C connector = {}, HintOptions options = {})
        : student_(std::move(student)),
          teacher_(std::move(teacher)),
          connector_(std::move(connector)),
          options_(options),
          state_(std::make_shared<State>()) {
        if (connector_.sized()) build({}, {});
    }

    std::string name() const {
        return detail::text("hint(", detail::tap_name(student_), "->", detail::tap_name(teacher_), ")");
    }
    bool prepared() const { return state_->built; }
    std::shared_ptr<torch::nn::Module> module() const { return state_->module; }

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B&) {
        const at::Tensor from = read_student(student);
        if (!prepared()) build(from.sizes(), read_teacher(*teacher).sizes());
        state_->module->to(from.device(), from.scalar_type());
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        if (!prepared()) {
            throw ConfigError(detail::text(name(), ": the sizes of ", connector_.name(),
                                           " are not given; call prepare with the outputs of a first batch"));
        }
        const at::Tensor feature = read_student(student);
        const at::Tensor goal = read_teacher(teacher);
        const at::Tensor mapped = state_->connector->forward(feature);
        if (mapped.sizes() != goal.sizes()) {
            throw ShapeError(
                detail::text(name(),
                             ": expected the connector to give the shape of the teacher's feature; the "
                             "student's ",
                             detail::tap_name(student_), " ", detail::shape_text(feature), " became ",
                             detail::shape_text(mapped), " through ", connector_.name(), ", the teacher's ",
                             detail::tap_name(teacher_), " is ", detail::shape_text(goal)));
        }
        return functional::hint(mapped, goal, options_);
    }

  private:
    using Module = decltype(std::declval<const C&>().build(at::IntArrayRef(), at::IntArrayRef()));
    struct State {  // shared by the copies of a Hint, as the parameters of a module are by its holders
        Module connector{nullptr};
        std::shared_ptr<torch::nn::Module> module;
        bool built = false;
    };

    template <class Student>
    at::Tensor read_student(const Student& outputs) const {
        static_assert(
            TapOf<StudentTap, Student>,
            "retort: the student's tap of this Hint does not read a tensor from the student's outputs");
        return checked(student_(outputs), student_, "student");
    }
    template <class Teacher>
    at::Tensor read_teacher(const Teacher& outputs) const {
        static_assert(
            TapOf<TeacherTap, Teacher>,
            "retort: the teacher's tap of this Hint does not read a tensor from the teacher's outputs");
        return checked(teacher_(outputs), teacher_, "teacher");
    }
    template <class Tap>
    at::Tensor checked(const at::Tensor& tensor, const Tap& tap, const char* whose) const {
        if (!tensor.defined()) {
            throw ShapeError(detail::text(name(), ": expected a tensor at the ", whose, "'s ",
                                          detail::tap_name(tap), ", found an undefined one"));
        }
        return tensor;
    }
    void build(at::IntArrayRef from, at::IntArrayRef to) {
        const detail::OwnRandomNumbers guard(name());
        state_->connector = connector_.build(from, to);
        state_->module = state_->connector.ptr();
        state_->built = true;
    }

    StudentTap student_;
    TeacherTap teacher_;
    C connector_;
    HintOptions options_;
    std::shared_ptr<State> state_;
};

}  // namespace retort
