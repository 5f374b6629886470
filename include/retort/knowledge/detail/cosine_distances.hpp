// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cosines of rows with constant rows.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/rsub.h>

#include <retort/knowledge/detail/known_gradient.hpp>

namespace retort::detail {

/// 1 minus the cosines of corresponding rows: both [batch, size] to [batch]. The gradient is with respect to the first.
/// \param epsilon a row no longer than this counts as one of length `short_length`, a constant
inline at::Tensor cosine_distances(const at::Tensor& rows, const at::Tensor& goal, double epsilon,
                                   double short_length) {
    const auto lengths_of = [](const at::Tensor& each) {
        return at::linalg_vector_norm(each, 2, at::IntArrayRef({1}), /*keepdim=*/true);
    };
    return with_known_gradient(
        rows,
        [&](bool with_gradient) {
            at::Tensor own = lengths_of(rows);
            const at::Tensor is_short = own <= epsilon;
            own.masked_fill_(is_short, short_length).reciprocal_();
            at::Tensor other = lengths_of(goal);
            other.masked_fill_(other <= epsilon, short_length).reciprocal_().mul_(own);
            const at::Tensor cosine = (rows * goal).sum(1, /*keepdim=*/true).mul_(other);
            ValueAndGradient result{at::rsub(cosine.squeeze(1), 1), {}};
            if (with_gradient) {
                // The gradient along the row is 0, unless its length is a constant.
                const at::Tensor along = own.square().mul_(cosine).masked_fill_(is_short, 0);
                result.gradient = (rows * along).sub_(goal * other);
            }
            return result;
        },
        [=](const at::Tensor& input) {
            const auto direction = [&](const at::Tensor& each) {
                const at::Tensor length = lengths_of(each);
                return each / length.masked_fill(length <= epsilon, short_length);
            };
            return 1 - (direction(input) * direction(goal)).sum(1);
        });
}

}  // namespace retort::detail
