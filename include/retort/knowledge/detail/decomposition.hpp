// SPDX-License-Identifier: BSL-1.0
/// \file
/// Matrix decompositions of finite matrices.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_svd.h>

#include <string_view>
#include <tuple>

#include <retort/detail/check.hpp>

namespace retort::detail {

/// The reduced singular value decomposition U, S, V^H of a batch of matrices. LAPACK may never return for an infinity, so
/// that the values are read first; this waits for the device, as the decomposition itself does.
/// \param what in the error: what the matrices are made of
/// \throws NonFiniteError if an element is NaN or infinite
inline std::tuple<at::Tensor, at::Tensor, at::Tensor> singular_values(std::string_view where,
                                                                      std::string_view what,
                                                                      const at::Tensor& matrices) {
    check_finite_values(where, what, matrices);
    return at::linalg_svd(matrices, /*full_matrices=*/false);
}

}  // namespace retort::detail
