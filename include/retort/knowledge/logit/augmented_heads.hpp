// SPDX-License-Identifier: BSL-1.0
/// \file
/// Self-supervision augmented distributions: heads that classify class and transformation of a view jointly.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/batch.hpp>
#include <retort/core/reduction.hpp>
#include <retort/knowledge/adaptor/on_plain_views.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/tap/tap.hpp>

namespace retort {

/// Options of `AugmentedSoftTarget` and `functional::augmented_soft_target`. The defaults are the released code's.
struct AugmentedSoftTargetOptions {
    double temperature = 3;  ///< above 0
    bool t_squared = true;
    Reduction reduction = Reduction::batchmean;  ///< elements are the views; `none`: one value per view

    /// \throws ConfigError
    void check() const { detail::check_temperature("AugmentedSoftTarget", temperature); }
};

namespace functional {

/// The class of each view among the classes times the transformations: view j of a sample of class y has class
/// `views` * y + j.
/// Shapes: class indices [batch] to [batch * views], the views of a sample in consecutive rows.
/// \throws ConfigError if `views` is below 1; ShapeError if these are not class indices
inline at::Tensor joint_labels(const at::Tensor& target, std::int64_t views = 4) {
    detail::check_view_count("joint_labels", views);
    detail::check_defined("joint_labels", "targets", target);
    if (target.dim() != 1 || target.scalar_type() != at::kLong) {
        throw ShapeError(
            detail::concat("joint_labels: expected targets of shape [batch] and type Long, found ",
                           detail::shape_text(target), " and ", target.scalar_type()));
    }
    return (target.unsqueeze(1) * views + at::arange(views, target.options())).reshape({-1});
}

/// Soft targets for every head of the student from the corresponding head of the teacher.
///
/// Formula: \f$ \sum_h T^2\, \mathrm{KL}(\sigma(z^t_h / T) \,\|\, \sigma(z^s_h / T)) \f$, mean over all views.
/// Shapes: lists of logits, [batch * views, classes of the head] each; including the main head if it is to be matched.
/// Gradient: to the student's logits.
/// Source: Yang, An, Cai, Xu, "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021; four
/// rotations, temperature 3 and weights 1 are the released code's.
/// \throws ConfigError if the temperature is not above 0; ShapeError if the heads do not match
inline at::Tensor augmented_soft_target(const std::vector<at::Tensor>& student,
                                        const std::vector<at::Tensor>& teacher,
                                        const AugmentedSoftTargetOptions& options = {}) {
    options.check();
    if (student.empty() || student.size() != teacher.size()) {
        throw ShapeError(detail::concat(
            "augmented_soft_target: expected as many heads of the student as of the teacher, found ",
            student.size(), " and ", teacher.size()));
    }
    const SoftTarget each{
        .temperature = options.temperature, .reduction = options.reduction, .t_squared = options.t_squared};
    at::Tensor result;
    for (std::size_t head = 0; head < student.size(); ++head) {
        const at::Tensor value = soft_target(student[head], teacher[head], each);
        result = result.defined() ? result + value : value;
    }
    return result;
}

/// Cross-entropy of every head with the joint labels: trains the heads of a teacher.
///
/// Formula: \f$ -\sum_h \log \sigma(z_h)_{y v + j} \f$ for view j of v, mean over all views.
/// Shapes: a list of logits, [batch * views, classes * views] each; targets [batch] of class indices.
/// Gradient: to the logits.
/// Source: as `augmented_soft_target`.
/// \throws ConfigError, ShapeError
inline at::Tensor augmented_cross_entropy(const std::vector<at::Tensor>& heads, const at::Tensor& target,
                                          std::int64_t views = 4) {
    if (heads.empty()) throw ShapeError("augmented_cross_entropy: expected the logits of a head, found none");
    const at::Tensor labels = joint_labels(target, views);
    at::Tensor result;
    for (const at::Tensor& head : heads) {
        const at::Tensor value = cross_entropy(head, labels);
        result = result.defined() ? result + value : value;
    }
    return result;
}

}  // namespace functional

/// `functional::augmented_soft_target` of several heads of a student and of a teacher.
///
///     retort::AugmentedSoftTarget{retort::Taps{logits, head1, head2, head3},
///                                 retort::Taps{logits, head1, head2, head3}}
template <class StudentTaps, class TeacherTaps>
class AugmentedSoftTarget : public detail::FunctionTerm<StudentTaps, TeacherTaps, AugmentedSoftTargetOptions,
                                                        &functional::augmented_soft_target> {
  public:
    explicit AugmentedSoftTarget(StudentTaps student, TeacherTaps teacher,
                                 AugmentedSoftTargetOptions options = {})
        : AugmentedSoftTarget::FunctionTerm("augmented_soft_target", std::move(student), std::move(teacher),
                                            options) {}
};

/// `functional::augmented_cross_entropy` of several heads of a student.
///
///     retort::AugmentedCrossEntropy{retort::Taps{head1, head2, head3}}
template <class StudentTaps>
class AugmentedCrossEntropy {
  public:
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = true;

    explicit AugmentedCrossEntropy(StudentTaps heads, std::int64_t views = 4)
        : heads_(std::move(heads)), views_(views) {
        check();
    }
    std::string name() const {
        return detail::concat("augmented_cross_entropy(", detail::tap_name(heads_), ')');
    }
    void check() const { detail::check_view_count("AugmentedCrossEntropy", views_); }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher&, const B& batch) const {
        static_assert(LabeledBatch<B>, "retort: AugmentedCrossEntropy needs a batch with targets");
        return detail::naming_taps(*this, "augmented_cross_entropy", [&] {
            return functional::augmented_cross_entropy(heads_(student), retort::target(batch), views_);
        });
    }

  private:
    StudentTaps heads_;
    std::int64_t views_;
};

}  // namespace retort
