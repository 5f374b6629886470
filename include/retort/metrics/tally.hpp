// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by the metrics: checks of a batch, and sums that stay on the device until they are read.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/max.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/core/counted.hpp>
#include <retort/core/error.hpp>

namespace retort::metrics::detail {

/// Logits [rows, classes] and targets [rows].
struct Predictions {
    at::Tensor logits;
    at::Tensor target;
};
/// Logits [batch, classes, ...] and targets [batch, ...], as LibTorch's cross-entropy has them, with one row for each
/// prediction; others unchanged.
inline Predictions rows_of(const at::Tensor& logits, const at::Tensor& target) {
    if (logits.defined() && logits.dim() > 2 && ::retort::detail::one_target_each(logits, target, 1))
        return {logits.movedim(1, -1).flatten(0, -2), target.flatten()};
    return {logits, target};
}

/// Throws unless `target` has one class index for each row of `logits`.
inline void check_target(const std::string& metric, const at::Tensor& logits, const at::Tensor& target) {
    using ::retort::detail::concat;
    if (!target.defined() || target.dim() != 1 || target.size(0) != logits.size(0) ||
        target.scalar_type() != at::kLong) {
        throw ShapeError(concat(metric, ": expected ", logits.size(0),
                                " targets of type int64 (Long), found ",
                                target.defined() ? concat(target.scalar_type(), " of shape ", target.sizes())
                                                 : std::string("an undefined tensor")));
    }
    if (target.device() != logits.device()) {
        throw ShapeError(concat(metric, ": expected targets on the logits' device, ", logits.device(),
                                ", found ", target.device()));
    }
}

/// The index of the largest logit in each row, the first of equals, and which rows have a NaN.
struct Prediction {
    at::Tensor place;   ///< B, int64
    at::Tensor is_nan;  ///< B, bool
};
inline Prediction predict(const at::Tensor& logits) {
    const auto [top, place] = at::max(logits, 1);
    return {place, top.ne(top)};
}

/// Which targets are out of range, and not ignored: B, bool.
/// \param counts which targets are not ignored: B, bool
inline at::Tensor no_class(const at::Tensor& target, std::int64_t classes, const at::Tensor& counts) {
    return target.lt(0).logical_or_(target.ge(classes)).logical_and_(counts);
}

/// Sums tensors of one shape on their device, and counts the samples they represent on the host.
class Tally {
  public:
    /// \param values are added to those of earlier calls, element by element.
    void add(const std::string& metric, std::int64_t samples, const at::Tensor& values) {
        if (sum_.defined() && sum_.device() != values.device()) {
            throw ShapeError(::retort::detail::concat(metric, ": expected logits on ", sum_.device(),
                                                      ", where the earlier ones were, found ",
                                                      values.device()));
        }
        if (sum_.defined() && sum_.sizes() != values.sizes()) {
            throw ShapeError(::retort::detail::concat(
                metric, ": expected logits of as many classes as in the earlier batches"));
        }
        // Not in place: a copy of the metric shares the tensor, and the sum may have been begun in inference
        // mode.
        sum_ = sum_.defined() ? sum_.add(values) : values;
        samples_ += samples;
    }
    std::int64_t samples() const { return samples_; }
    /// The sums, on the CPU as float64 or int64. Waits for the device.
    /// \throws DataError if there were no samples
    at::Tensor read(const std::string& metric) const {
        if (samples_ == 0) {
            throw DataError(::retort::detail::concat(metric, ": expected at least one sample, found none"));
        }
        const c10::NoGradGuard no_grad;
        return sum_.to(at::kCPU).contiguous();
    }

  private:
    at::Tensor sum_;
    std::int64_t samples_ = 0;
};

/// The number of true values of each tensor: [flags.size()], int64.
inline at::Tensor counts(std::initializer_list<at::Tensor> flags) {
    std::vector<at::Tensor> sums;
    for (const auto& flag : flags) sums.push_back(flag.sum());
    return at::stack(sums);
}

/// The fraction of the predictions that count.
/// \throws DataError if none counts
inline double fraction(const std::string& metric, double part, double counted, std::int64_t samples) {
    if (counted > 0) return part / counted;
    throw DataError(::retort::detail::concat(
        metric, ": expected at least one target that is not ignored, found ", "none among ", samples));
}

/// Throws if there were targets out of range.
inline void expect_classes(const std::string& metric, std::int64_t bad, std::int64_t samples) {
    if (bad == 0) return;
    throw DataError(
        ::retort::detail::concat(metric, ": expected targets from 0 to the number of classes minus 1, found ",
                                 bad, " of ", samples, " outside"));
}

}  // namespace retort::metrics::detail
