// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teacher-free regularization: soft targets from a virtual teacher that is nearly always right.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>
#include <string>

#include <retort/core/reduction.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/ignored.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Divergence of the student's distribution from that of a virtual teacher.
///
/// Formula: \f$ \mathrm{KL}(\sigma(u / T) \,\|\, \sigma(z)) \f$ where \f$ u \f$ has \f$ a \f$ at the target
/// class and \f$ (1 - a) / (C - 1) \f$ elsewhere. No \f$ T^2 \f$; the student has temperature 1; mean over
/// samples and classes.
/// Shapes: logits [batch, classes], at least 2 classes; targets [batch] of class indices, or [batch, classes]
/// of probabilities, of which the most probable class counts.
/// Gradient: to the student's logits.
/// Reductions: `mean` (default), `batchmean` (larger by the number of classes), `sum`, `none` (one value per sample).
/// Hazards: u, already a distribution, is passed through a softmax, so that a high T makes it nearly uniform; and the
/// division by the number of classes makes the loss small, which the released code compensates with multipliers of up
/// to 100. Kept, since the code is the only form the source states. Related: `CrossEntropy` with a label smoothing of
/// \f$ \alpha C / (C - 1) \f$ is that work's label smoothing of \f$ \alpha \f$; `SoftTarget::teacher_free()` is its
/// self-distillation.
/// Source: Yuan, Tay, Li, Wang, Feng, "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR
/// 2020, as released; temperature 20 and probability 0.99 are its values, with cross-entropy.
struct TeacherFreeRegularization {
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = true;

    double temperature = 20.0;          ///< above 0
    double correct_probability = 0.99;  ///< a; above 0 and below 1
    Reduction reduction = Reduction::mean;
    std::int64_t ignore_index = -100;  ///< samples with this target do not count

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const {
        detail::check_temperature("TeacherFreeRegularization", temperature);
        detail::check_range("TeacherFreeRegularization", "a correct_probability", correct_probability,
                            detail::in_open(0, 1));
    }
    static std::string name() { return "teacher_free_regularization"; }
};

namespace detail {

/// Of samples whose targets all count.
inline at::Tensor teacher_free_regularization_of_all(const at::Tensor& logits, const at::Tensor& target,
                                                     const TeacherFreeRegularization& options) {
    check_two_classes("teacher_free_regularization", logits);
    const at::Tensor column = class_indices("teacher_free_regularization", target, logits).unsqueeze(1);
    // The teacher's distribution has only two values, so it need not be built.
    const double others = static_cast<double>(logits.size(1) - 1);
    const double lead =
        (options.correct_probability - (1 - options.correct_probability) / others) / options.temperature;
    const double log_sum =
        lead > 0 ? lead + std::log1p(others * std::exp(-lead)) : std::log(std::exp(lead) + others);
    const double log_correct = lead - log_sum, log_other = -log_sum;
    const double correct = std::exp(log_correct), other = std::exp(log_other);
    const double negative_entropy = correct * log_correct + others * other * log_other;
    const at::Tensor log_student = log_probabilities(logits, 1.0);
    const at::Tensor divergence = negative_entropy -
                                  (correct - other) * log_student.gather(1, column).squeeze(1) -
                                  other * log_student.sum(1);
    return reduce(divergence, options.reduction, PerSample::mean,
                  options.reduction == Reduction::mean ? 1 / static_cast<double>(logits.size(1)) : 1.0);
}

}  // namespace detail

namespace functional {

/// See `TeacherFreeRegularization`.
/// \throws ConfigError if an option is out of range; ShapeError if logits and targets do not match
inline at::Tensor teacher_free_regularization(const at::Tensor& logits, const at::Tensor& target,
                                              const TeacherFreeRegularization& options = {}) {
    options.check();
    detail::check_logits("teacher_free_regularization", "the student's logits", logits);
    return detail::of_counted(
        logits, target, options, static_cast<double>(logits.size(1)),
        [&](const auto& select, const at::Tensor& counted, const TeacherFreeRegularization& own) {
            return detail::teacher_free_regularization_of_all(select(logits), counted, own);
        });
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor TeacherFreeRegularization::operator()(const Student& student, const Teacher&,
                                                 const B& batch) const {
    return functional::teacher_free_regularization(detail::student_logits<TeacherFreeRegularization>(student),
                                                   target(batch), *this);
}

}  // namespace retort
