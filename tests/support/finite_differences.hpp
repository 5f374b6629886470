// SPDX-License-Identifier: BSL-1.0
/// \file
/// Gradients by central differences, for comparison with autograd.
#pragma once

#include <retort_test.hpp>

namespace retort_test {

/// The gradient of `function`, a map from a tensor to one number, at `point` (float64), by central
/// differences.
template <class Function>
torch::Tensor numerical_gradient(Function&& function, const torch::Tensor& point, double width = 1e-6) {
    const torch::NoGradGuard no_grad;
    auto moved = point.detach().clone().contiguous();
    auto result = torch::zeros_like(moved);
    auto* value = moved.data_ptr<double>();
    auto* gradient = result.template data_ptr<double>();
    for (std::int64_t i = 0; i < moved.numel(); ++i) {
        const double before = value[i];
        value[i] = before + width;
        const double above = function(moved).template item<double>();
        value[i] = before - width;
        const double below = function(moved).template item<double>();
        value[i] = before;
        gradient[i] = (above - below) / (2 * width);
    }
    return result;
}

/// The gradient of `function` at `point` by autograd.
template <class Function>
torch::Tensor gradient(Function&& function, const torch::Tensor& point) {
    const auto leaf = point.detach().clone().requires_grad_();
    function(leaf).backward();
    return leaf.grad();
}

}  // namespace retort_test
