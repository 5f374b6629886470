// SPDX-License-Identifier: BSL-1.0
/// \file
/// Small operations on tensors that issue no operator if none is needed.
#pragma once

#include <ATen/core/Tensor.h>

namespace retort::detail {

/// A tensor as a constant of the loss. Teachers run without gradient, so that there is usually nothing to detach, and
/// `detach` is an operator.
inline at::Tensor constant(const at::Tensor& tensor) {
    return tensor.requires_grad() ? tensor.detach() : tensor;
}

/// The elements in CPU memory, row by row, to read their bytes. Lazy conjugation and negation are resolved.
inline at::Tensor in_memory(const at::Tensor& tensor) {
    at::Tensor result = constant(tensor);
    if (result.is_conj()) result = result.resolve_conj();
    if (result.is_neg()) result = result.resolve_neg();
    return result.cpu().contiguous();
}

/// The tensor in float32 if it is of a 16-bit type: exponentials and sums over classes lose too much precision
/// there.
inline at::Tensor at_least_float32(const at::Tensor& tensor) {
    const auto type = tensor.scalar_type();
    return type == at::kHalf || type == at::kBFloat16 ? tensor.to(at::kFloat) : tensor;
}

}  // namespace retort::detail
