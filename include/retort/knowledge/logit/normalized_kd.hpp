// SPDX-License-Identifier: BSL-1.0
/// \file
/// Normalized knowledge distillation: the target class at the teacher's probability, the others normalized.
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
#include <retort/knowledge/detail/target_split.hpp>

namespace retort {

/// Cross-entropies with the teacher: on the target class, and on the other classes, normalized among themselves.
///
/// Formula: \f$ -t_y \log s_y + \gamma T^2 \, \mathrm{CE}(\hat t, \hat s) \f$ with t, s at temperature 1 and \f$ \hat
/// t, \hat s \f$ the softmax at temperature T over all classes except y; mean over samples.
/// Shapes: both logits [batch, classes], at least 2 classes; targets [batch] of class indices, or [batch, classes] of
/// probabilities, of which the most probable class counts.
/// Gradient: to the student's logits.
/// Reductions: `batchmean` (default; `mean` is the same, elements are samples), `sum`, `none`.
/// Hazards: cross-entropies, not divergences: not 0 at equality.
/// Source: Yang, Zeng, Li, Zhang, Yuan, Li, "From Knowledge Distillation to Self-Knowledge Distillation: A
/// Unified Approach with Normalized Loss and Customized Soft Labels", ICCV 2023; settings of cls_KD.
struct NormalizedKd {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = true;

    double non_target_weight = 1.5;  ///< gamma
    double temperature = 1.0;        ///< of the other classes; above 0
    Reduction reduction = Reduction::batchmean;
    std::int64_t ignore_index = -100;  ///< samples with this target do not count

    /// The defaults: ResNet-34 to ResNet-18.
    static NormalizedKd image_net() { return {}; }
    static NormalizedKd cifar() { return {.non_target_weight = 3.5, .temperature = 3.0}; }
    /// Vision transformers.
    static NormalizedKd deit() { return {.non_target_weight = 1.0}; }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const {
        detail::check_range("NormalizedKd", "a non_target_weight", non_target_weight, detail::at_least(0));
        detail::check_temperature("NormalizedKd", temperature);
    }
    static std::string name() { return "normalized_kd"; }
};

namespace detail {

/// Of samples whose targets all count.
inline at::Tensor normalized_kd_of_all(const at::Tensor& student, const at::Tensor& teacher,
                                       const at::Tensor& target, const NormalizedKd& options) {
    const TensorPair both = logit_pair("normalized_kd", student, teacher);
    check_two_classes("normalized_kd", both.student);
    const at::Tensor column = class_indices("normalized_kd", target, both.student).unsqueeze(1);
    const double temperature = options.temperature;
    const at::Tensor of_student = at_least_float32(both.student);
    const at::Tensor of_teacher = at_least_float32(constant(both.teacher));
    const at::Tensor on_target = (at::log_softmax(of_teacher, 1).gather(1, column).exp() *
                                  at::log_softmax(of_student, 1).gather(1, column))
                                     .squeeze(1);
    // At the target class the student's logarithm is 0.
    const at::Tensor on_others =
        (log_others(of_teacher / temperature, column).exp() * log_others(of_student / temperature, column))
            .sum(1);
    return reduce(-on_target - on_others * (options.non_target_weight * temperature * temperature),
                  options.reduction);
}

}  // namespace detail

namespace functional {

/// See `NormalizedKd`.
/// \throws ConfigError if an option is out of range; ShapeError if logits and targets do not match
inline at::Tensor normalized_kd(const at::Tensor& student, const at::Tensor& teacher,
                                const at::Tensor& target, const NormalizedKd& options = {}) {
    options.check();
    return detail::of_counted(student, target, options, 1.0,
                              [&](const auto& select, const at::Tensor& counted, const NormalizedKd& own) {
                                  return detail::normalized_kd_of_all(select(student), select(teacher),
                                                                      counted, own);
                              });
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor NormalizedKd::operator()(const Student& student, const Teacher& teacher, const B& batch) const {
    return functional::normalized_kd(detail::student_logits<NormalizedKd>(student),
                                     detail::teacher_logits<NormalizedKd>(teacher), target(batch), *this);
}

}  // namespace retort
