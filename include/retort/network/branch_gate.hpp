// SPDX-License-Identifier: BSL-1.0
/// \file
/// Gating of a network's branches by their shared feature.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/network/detail/stacked_branches.hpp>

namespace retort {

/// The gate of ONE: weights the branches per sample, based on their shared feature.
///
/// Formula: \f$ g = \sigma(\mathrm{ReLU}(\mathrm{BN}(W f + b))) \f$, ensemble \f$ \sum_b g_b z_b \f$.
/// Shapes: feature [batch, features], each branch [batch, classes]; ensemble [batch, classes].
/// Source: Zhu, Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, as in the released
/// code. Part of the user's network: the ensemble is one of its outputs.
struct BranchGateImpl : torch::nn::Cloneable<BranchGateImpl> {
    BranchGateImpl(std::int64_t features, std::int64_t branches) : features_(features), branches_(branches) {
        if (features < 1 || branches < 1) {
            throw ConfigError(
                detail::concat("BranchGate: expected at least one feature and one branch, found ", features,
                               " and ", branches));
        }
        reset();
    }
    void reset() override {
        control = register_module("control", torch::nn::Linear(features_, branches_));
        norm = register_module("norm", torch::nn::BatchNorm1d(branches_));
    }
    /// \throws ShapeError if the branches do not match
    at::Tensor forward(const at::Tensor& feature, const std::vector<at::Tensor>& branches) {
        const at::Tensor all =
            detail::stacked_branches("BranchGate", branches, static_cast<std::size_t>(branches_));
        const at::Tensor gate = at::softmax(at::relu(norm->forward(control->forward(feature))), 1);
        return at::bmm(gate.unsqueeze(1), all).squeeze(1);
    }
    torch::nn::Linear control{nullptr};
    torch::nn::BatchNorm1d norm{nullptr};

  private:
    std::int64_t features_;
    std::int64_t branches_;
};
TORCH_MODULE(BranchGate);

}  // namespace retort
