// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a metric: accumulated over batches, read once.
///
/// A metric is an object with
/// - `update(student_logits, target)`, or, where `static constexpr bool needs_teacher` is true,
///   `update(student_logits, target, teacher_logits)`: accumulates one batch, logits of shape B x C and B class
///   indices (int64). It accumulates on the logits' device and never waits for it: no `item()`, no copy to the host;
/// - `value()`: the result so far as a number. This is the only place where the host waits for the device;
/// - `reset()`: discards what was accumulated;
/// - `name()`: the name of the result in tables and files, such as `top5`.
///
/// A metric is a value: a copy is independent of the original. Nothing it does is recorded by autograd.
///
/// Wrong shapes or options are reported by `update`. Invalid values in a tensor (a target out of range) are counted
/// there and reported by `value`, since checking earlier would wait for the device.
///
/// ```cpp
/// struct MeanTopLogit {
///     static constexpr bool needs_teacher = false;
///     at::Tensor sum;
///     std::int64_t count = 0;
///     void update(const at::Tensor& logits, const at::Tensor&) {
///         const auto top = logits.detach().amax(1).sum();
///         sum = sum.defined() ? sum + top : top;
///         count += logits.size(0);
///     }
///     double value() const { return sum.item<double>() / static_cast<double>(count); }
///     void reset() { *this = {}; }
///     std::string name() const { return "mean_top_logit"; }
/// };
/// ```
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <string>

namespace retort::metrics {

/// Has a result, a name, and states whether it needs the teacher's logits.
template <class M>
concept HasResult = std::copyable<M> && requires(M& metric, const M& constant) {
    { constant.value() } -> std::convertible_to<double>;
    { constant.name() } -> std::convertible_to<std::string>;
    { M::needs_teacher } -> std::convertible_to<bool>;
    metric.reset();
};

/// Updated with the student's logits and the targets.
template <class M>
concept StudentMetric = HasResult<M> && !M::needs_teacher &&
                        requires(M& metric, const at::Tensor& tensor) { metric.update(tensor, tensor); };

/// Updated with the teacher's logits, too.
template <class M>
concept TeacherMetric = HasResult<M> && M::needs_teacher && requires(M& metric, const at::Tensor& tensor) {
    metric.update(tensor, tensor, tensor);
};

/// A metric of one of the two kinds.
template <class M>
concept Metric = StudentMetric<M> || TeacherMetric<M>;

}  // namespace retort::metrics
