// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weighted soft labels: samples that the student predicts better than the teacher count less.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>

#include <cstdint>
#include <string>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/ignored.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

namespace retort {

/// Soft targets as a cross-entropy, with one weight per sample.
///
/// Formula: \f$ T^2 w \, \mathrm{CE}(\sigma(z_t / T), \sigma(z_s / T)) \f$ per sample, \f$ w = 1 - \exp(-h_s
/// / (h_t + \epsilon)) \f$ with \f$ h_s, h_t \f$ the cross-entropies of student and teacher with the target
/// at temperature 1; mean over samples.
/// Shapes: both logits [batch, classes]; targets [batch] of class indices, or [batch, classes] of
/// probabilities, of which the most probable class counts.
/// Gradient: to the student's logits, not through the weight.
/// Reductions: `batchmean` (default; `mean` is the same, elements are samples), `sum`, `none`.
/// Hazards: a cross-entropy: not 0 at equality. The weight is 1 where the teacher is certain.
/// Source: Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang, "Rethinking Soft Labels for Knowledge Distillation: A
/// Bias-Variance Tradeoff Perspective", ICLR 2021; settings and epsilon of cls_KD.
struct WeightedSoftLabels {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = true;

    double temperature = 4.0;  ///< above 0
    Reduction reduction = Reduction::batchmean;
    double epsilon = 1e-7;             ///< added to the teacher's cross-entropy, which may be 0
    std::int64_t ignore_index = -100;  ///< samples with this target do not count

    /// The defaults; term weight 2.25.
    static WeightedSoftLabels cifar() { return {}; }
    /// Term weight 2.5.
    static WeightedSoftLabels image_net() { return {.temperature = 2.0}; }
    static WeightedSoftLabels mm_razor() { return {.temperature = 1.0}; }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const {
        detail::check_temperature("WeightedSoftLabels", temperature);
        detail::check_range("WeightedSoftLabels", "an epsilon", epsilon, detail::above(0));
    }
    static std::string name() { return "weighted_soft_labels"; }
};

namespace detail {

/// Of samples whose targets all count.
inline at::Tensor weighted_soft_labels_of_all(const at::Tensor& student, const at::Tensor& teacher,
                                              const at::Tensor& target, const WeightedSoftLabels& options) {
    const TensorPair both = logit_pair("weighted_soft_labels", student, teacher);
    const at::Tensor column = class_indices("weighted_soft_labels", target, both.student).unsqueeze(1);
    const at::Tensor fixed = constant(both.teacher);
    const auto hard = [&](const at::Tensor& logits) {
        return -log_probabilities(logits, 1.0).gather(1, column).squeeze(1);
    };
    const at::Tensor weight = 1 - (-hard(both.student.detach()) / (hard(fixed) + options.epsilon)).exp();
    const SoftTarget soft{.temperature = options.temperature,
                          .reduction = Reduction::none,
                          .form = SoftTarget::Form::cross_entropy};
    return reduce(weight * functional::soft_target(both.student, fixed, soft), options.reduction);
}

}  // namespace detail

namespace functional {

/// See `WeightedSoftLabels`.
/// \throws ConfigError if an option is out of range; ShapeError if logits and targets do not match
inline at::Tensor weighted_soft_labels(const at::Tensor& student, const at::Tensor& teacher,
                                       const at::Tensor& target, const WeightedSoftLabels& options = {}) {
    options.check();
    return detail::of_counted(
        student, target, options, 1.0,
        [&](const auto& select, const at::Tensor& counted, const WeightedSoftLabels& own) {
            return detail::weighted_soft_labels_of_all(select(student), select(teacher), counted, own);
        });
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor WeightedSoftLabels::operator()(const Student& student, const Teacher& teacher,
                                          const B& batch) const {
    return functional::weighted_soft_labels(detail::student_logits<WeightedSoftLabels>(student),
                                            detail::teacher_logits<WeightedSoftLabels>(teacher),
                                            target(batch), *this);
}

}  // namespace retort
