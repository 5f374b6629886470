// SPDX-License-Identifier: BSL-1.0
/// \file
/// Products of a tensor with itself, with backward passes that use this: autograd would treat the two factors as
/// different tensors.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

namespace retort::detail {

// The backward passes use differentiable operators on the inputs: the gradients are differentiable.

/// Product of two matrices, or of two batches of them.
inline at::Tensor product(const at::Tensor& one, const at::Tensor& other) {
    return one.dim() == 2 ? at::mm(one, other) : at::bmm(one, other);
}

/// The scalar products of all pairs of rows.
class GramFunction : public torch::autograd::Function<GramFunction> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& rows) {
        context->save_for_backward({rows});
        return product(rows, rows.transpose(-2, -1));
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list incoming) {
        const at::Tensor rows = context->get_saved_variables()[0];
        // One product instead of two for the factors.
        return {product(incoming[0] + incoming[0].transpose(-2, -1), rows)};
    }
};

/// The scalar products of all pairs of rows: [rows, size] to [rows, rows], or batched.
inline at::Tensor gram(const at::Tensor& rows) {
    return rows.requires_grad() && at::GradMode::is_enabled() ? GramFunction::apply(rows)
                                                              : product(rows, rows.transpose(-2, -1));
}

/// The squared distances of all pairs of rows.
class SquaredDistancesFunction : public torch::autograd::Function<SquaredDistancesFunction> {
  public:
    /// With one matrix product, without computing the differences. Distances are translation-invariant, so the rows
    /// are centered first, which avoids the cancellation of large norms.
    static at::Tensor distances(const at::Tensor& rows) {
        const at::Tensor centered = rows - rows.mean(0, /*keepdim=*/true);
        const at::Tensor norms = centered.square().sum(1);
        return at::addmm(norms.unsqueeze(1) + norms.unsqueeze(0), centered, centered.t(), 1, -2)
            .clamp_min_(0);
    }
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& rows) {
        at::Tensor result = distances(rows);
        context->save_for_backward({rows, result});
        return result;
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list incoming) {
        const auto saved = context->get_saved_variables();
        const at::Tensor centered = saved[0] - saved[0].mean(0, /*keepdim=*/true);
        const at::Tensor slope = incoming[0].masked_fill(saved[1].detach() <= 0, 0);
        const at::Tensor both = slope + slope.t();
        // Twice the sum of both_ij (x_i - x_j) over j.
        return {(centered * both.sum(1, /*keepdim=*/true) - at::mm(both, centered)) * 2};
    }
};

/// The squared distances of all pairs of rows, at least 0: [rows, size] to [rows, rows].
inline at::Tensor squared_distances(const at::Tensor& rows) {
    return rows.requires_grad() && at::GradMode::is_enabled() ? SquaredDistancesFunction::apply(rows)
                                                              : SquaredDistancesFunction::distances(rows);
}

/// The mean of the squares along dimension 1.
class MeanSquareFunction : public torch::autograd::Function<MeanSquareFunction> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& values) {
        context->save_for_backward({values});
        return values.square().mean(1);
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list incoming) {
        const at::Tensor values = context->get_saved_variables()[0];
        return {values * (incoming[0] * (2.0 / static_cast<double>(values.size(1)))).unsqueeze(1)};
    }
};

/// The mean of the squares along dimension 1: [batch, channels, ...] to [batch, ...].
inline at::Tensor mean_square(const at::Tensor& values) {
    return values.requires_grad() && at::GradMode::is_enabled() ? MeanSquareFunction::apply(values)
                                                                : values.square().mean(1);
}

}  // namespace retort::detail
