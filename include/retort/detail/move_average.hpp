// SPDX-License-Identifier: BSL-1.0
/// \file
/// Moving averages of parameters.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::detail {

/// \throws ConfigError if the decay is out of range
inline void check_decay(const char* who, double decay) {
    check_range(who, "a decay", decay, in_half_open(0, 1));
}

/// The decay in a step, from 1: with a warm-up the initial, untrained weights are forgotten quickly.
inline double decay_in_step(double decay, bool warm_up, std::int64_t step) {
    return warm_up ? std::min(decay, 1 - 1 / static_cast<double>(step + 1)) : decay;
}

/// Where a tensor's average is kept: in float32 for 16-bit numbers, which would round small changes away.
inline at::Tensor average_of(const at::Tensor& tensor) {
    const bool narrow = tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16;
    return narrow ? tensor.detach().to(at::kFloat) : tensor.detach().clone();
}

/// Updates the averages with the values.
inline void move_average(const std::vector<at::Tensor>& averages, const std::vector<at::Tensor>& values,
                         double decay) {
    if (averages.empty()) return;
    at::_foreach_mul_(averages, decay);
    at::_foreach_add_(averages, values, 1 - decay);
}

}  // namespace retort::detail
