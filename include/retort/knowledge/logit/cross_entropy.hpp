// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cross-entropy with the targets.
#pragma once

#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cross_entropy_loss.h>

#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/ignored.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>

namespace retort {

/// Cross-entropy of the student's logits with the targets.
///
/// Formula: \f$ -\log \sigma(z)_{y} \f$ per sample, with the smoothed target \f$ (1-\epsilon) e_y + \epsilon
/// / C \f$ for a label smoothing \f$ \epsilon \f$; mean over the predictions whose target is not ignored.
/// Shapes: logits [batch, classes, ...], one prediction per sample or position (pixels); targets [batch, ...] of class
/// indices (int64), or of the logits' shape, of probabilities. With `Reduction::none` the mean over each sample's
/// positions, [batch].
/// A batch in which every target is ignored has the loss 0, and a gradient of 0 (on the CPU, where this can be told
/// without waiting for the device).
/// Gradient: to the student's logits. 16-bit logits are computed in float32.
struct CrossEntropy {
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = true;

    double label_smoothing = 0.0;                ///< in [0, 1]
    Reduction reduction = Reduction::batchmean;  ///< elements are predictions: `mean` is the same
    at::Tensor class_weights{};        ///< [classes]; undefined: all 1. The mean is then the weighted one
    std::int64_t ignore_index = -100;  ///< predictions with this target do not count

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher&, const B& batch) const;
    void check() const;
    static std::string name() { return "cross_entropy"; }
};

namespace functional {

/// See `CrossEntropy`.
/// \throws ShapeError if the shapes or types do not match
inline at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target,
                                const CrossEntropy& options = {}) {
    detail::check_class_scores("cross_entropy", "logits", logits);
    detail::check_defined("cross_entropy", "targets", target);
    const bool indices = target.scalar_type() == at::kLong && target.dim() == logits.dim() - 1 &&
                         target.size(0) == logits.size(0) &&
                         target.sizes().slice(1) == logits.sizes().slice(2);
    if (!indices && !(target.sizes() == logits.sizes() && target.is_floating_point())) {
        throw ShapeError(
            detail::concat("cross_entropy: expected targets of shape ", detail::without_classes(logits),
                           " and type Long, or of the shape of the logits and a floating-point type; found ",
                           detail::shape_text(target), " and ", target.scalar_type()));
    }
    detail::check_same_device("cross_entropy", "logits", logits, "targets", target);
    const at::Tensor scores = detail::at_least_float32(logits);
    if (options.class_weights.defined()) {
        if (options.class_weights.dim() != 1 || options.class_weights.size(0) != logits.size(1)) {
            throw ShapeError(detail::concat("cross_entropy: expected class weights of shape [",
                                            logits.size(1), "], found ",
                                            detail::shape_text(options.class_weights)));
        }
        detail::check_same_device("cross_entropy", "logits", logits, "class weights", options.class_weights);
    }
    if (indices && options.reduction != Reduction::none && options.reduction != Reduction::sum &&
        detail::none_counts(target, options.ignore_index)) {
        return detail::no_loss(scores);
    }
    const auto reduction = options.reduction == Reduction::none  ? at::Reduction::None
                           : options.reduction == Reduction::sum ? at::Reduction::Sum
                                                                 : at::Reduction::Mean;
    const at::Tensor loss = at::cross_entropy_loss(scores, target, options.class_weights, reduction,
                                                   options.ignore_index, options.label_smoothing);
    if (options.reduction != Reduction::none || loss.dim() == 1) return loss;
    const at::Tensor sums = loss.flatten(1).sum(1);
    const at::Tensor counts =
        indices ? target.flatten(1).ne(options.ignore_index).sum(1).clamp_min(1) : at::Tensor();
    return indices ? sums / counts : sums / (loss.numel() / loss.size(0));
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor CrossEntropy::operator()(const Student& student, const Teacher&, const B& batch) const {
    return functional::cross_entropy(detail::student_logits<CrossEntropy>(student), target(batch), *this);
}

inline void CrossEntropy::check() const {
    detail::check_range("CrossEntropy", "a label smoothing", label_smoothing, detail::in_closed(0, 1));
}

}  // namespace retort
