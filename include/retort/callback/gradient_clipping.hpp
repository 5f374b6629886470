// SPDX-License-Identifier: BSL-1.0
/// \file
/// Clips gradients before the optimizer step.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>

namespace retort {

/// Clips gradients before the optimizer step: by their common norm, by value, or both (value first).
///
/// Formula: \f$ g \leftarrow g \cdot \min(1, \text{max\_norm} / (\|g\|_2 + 10^{-6})) \f$ with the norm over
/// all parameters (Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML
/// 2013, Algorithm 1); \f$ g \leftarrow \min(\max(g, -\text{max\_value}), \text{max\_value}) \f$ per element.
/// A norm that is NaN or infinite clips nothing: one infinity would make NaN of itself and 0 of all others, and one NaN
/// would spread to all. In a cohort, each learner's gradients are clipped by their own norm. Does not wait for the device, unlike
/// `torch::nn::utils::clip_grad_norm_`.
struct GradientClipping {
    double max_norm = 0.0;   ///< 0: no clipping by norm
    double max_value = 0.0;  ///< 0: no clipping by value

    void on_fit_begin(FitContext&) const {
        const bool fine =
            max_norm >= 0 && max_value >= 0 && std::isfinite(max_norm) && std::isfinite(max_value);
        if (!fine || (max_norm == 0 && max_value == 0)) {
            throw ConfigError(
                detail::concat("GradientClipping: expected a max_norm or max_value above 0, found ", max_norm,
                               " and ", max_value));
        }
    }
    void on_gradients(FitContext& context) const {
        const at::NoGradGuard no_grad;
        for (const std::vector<at::Tensor>& parameters : context.parameters_of_learners()) clip(parameters);
    }

  private:
    void clip(const std::vector<at::Tensor>& parameters) const {
        std::vector<at::Tensor> gradients = detail::gradients_of(parameters);
        if (gradients.empty()) return;
        if (max_value > 0) {
            for (at::Tensor& gradient : gradients) gradient.clamp_(-max_value, max_value);
        }
        if (max_norm > 0) {
            const at::Tensor norm = at::stack(at::_foreach_norm(gradients)).norm();
            const at::Tensor factor =
                (max_norm / (norm + 1e-6)).clamp_max_(1.0).masked_fill_(norm.isfinite().logical_not_(), 1.0);
            for (at::Tensor& gradient : gradients) gradient.mul_(factor);
        }
    }
};

}  // namespace retort
