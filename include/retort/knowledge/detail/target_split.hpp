// SPDX-License-Identifier: BSL-1.0
/// \file
/// A distribution over the classes split in two: the target class against the rest, and the rest on its own.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/scatter.h>

#include <limits>

namespace retort::detail {

/// The parts of a softmax, as logarithms. The target class is removed by its index and not by a large negative
/// number, and nothing is a difference from 1: accurate for any confidence in the target.
struct TargetSplit {
    at::Tensor log_target;  ///< of the target class: [batch]
    at::Tensor log_rest;    ///< of all others together: [batch]
    at::Tensor log_others;  ///< of the others among themselves: [batch, classes], with 0 at the target class
};

/// \param scores [batch, classes], at least 2 classes
/// \param column the target classes: [batch, 1]
inline at::Tensor log_others(const at::Tensor& scores, const at::Tensor& column) {
    const at::Tensor rest = at::scatter(scores, 1, column, -std::numeric_limits<double>::infinity());
    return at::scatter(at::log_softmax(rest, 1), 1, column, 0.0);
}
inline TargetSplit split_target(const at::Tensor& scores, const at::Tensor& column) {
    const at::Tensor rest = at::scatter(scores, 1, column, -std::numeric_limits<double>::infinity());
    const at::Tensor log_sum = at::logsumexp(rest, 1, /*keepdim=*/true);
    const at::Tensor lead = (scores.gather(1, column) - log_sum).squeeze(1);
    return {at::log_sigmoid(lead), at::log_sigmoid(-lead), at::scatter(rest - log_sum, 1, column, 0.0)};
}

}  // namespace retort::detail
