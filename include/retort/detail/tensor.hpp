// SPDX-License-Identifier: BSL-1.0
/// \file
/// Small things done to tensors, without an operator where none is needed.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort::detail {

/// A tensor as a constant of the loss. Teachers run without gradient, so that there is nothing to detach as a
/// rule, and `detach` is an operator.
inline at::Tensor constant(const at::Tensor& tensor) {
    return tensor.requires_grad() ? tensor.detach() : tensor;
}

/// The tensor in float32 where it is of a 16-bit type: exponentials and sums over classes lose too much
/// there.
inline at::Tensor at_least_float32(const at::Tensor& tensor) {
    const auto type = tensor.scalar_type();
    return type == at::kHalf || type == at::kBFloat16 ? tensor.to(at::kFloat) : tensor;
}

}  // namespace retort::detail
