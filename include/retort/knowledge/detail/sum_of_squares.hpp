// SPDX-License-Identifier: BSL-1.0
/// \file
/// Sums of squares, with a custom gradient.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>

#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/known_gradient.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort::detail {

/// The scalar products of corresponding rows: both [batch, ...] to [batch]. Without a tensor of the products.
inline at::Tensor row_products(const at::Tensor& one, const at::Tensor& other) {
    const std::int64_t batch = one.size(0);
    return at::bmm(one.reshape({batch, 1, -1}), other.reshape({batch, -1, 1})).reshape({batch});
}

/// The sum of the squares of \f$ d(x) \f$, reduced as by `reduce`, with sums for `none`. At every element d
/// has derivative 1, or is 0.
/// \param deviations `Tensor deviations(values)`, a new tensor, in differentiable operators
template <class Deviations>
at::Tensor sum_of_squares(const at::Tensor& values, Reduction reduction, double scale,
                          const Deviations& deviations) {
    return with_known_gradient(
        values,
        [&](bool) {
            const at::Tensor apart = deviations(values);
            const std::int64_t samples = values.size(0);
            const double factor = scale / divisor(reduction, samples, values.numel() / samples);
            at::Tensor value = row_products(apart, apart);
            if (reduction != Reduction::none) value = value.sum();
            if (factor != 1) value.mul_(factor);
            return ValueAndGradient{value, apart, 2 * factor};
        },
        [deviations, reduction, scale](const at::Tensor& input) {
            const at::Tensor value = reduce(deviations(input).square(), reduction, PerSample::sum);
            return scale == 1 ? value : value * scale;
        });
}

}  // namespace retort::detail
