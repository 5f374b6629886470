// SPDX-License-Identifier: BSL-1.0
/// \file
/// Attention between peers.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/softmax.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/network/detail/stacked_branches.hpp>

namespace retort {

/// The attention of OKDDip: for each peer its own weighted mean of all peers.
///
/// Formula: \f$ a = \sigma(Q K^\top) \f$ with the queries and keys of the peers' features (without biases, not
/// scaled by the square root of their size); target of peer i \f$ \sum_j a_{ij} z_j \f$.
/// Shapes: features and branches of each peer, [batch, features] and [batch, classes]; one target per peer.
/// Source: Chen, Mei, Wang, Feng, Chen, "Online Knowledge Distillation with Diverse Peers", AAAI 2020, as in
/// the released code, where queries and keys have an eighth of the features. Part of the user's network.
struct PeerAttentionImpl : torch::nn::Cloneable<PeerAttentionImpl> {
    explicit PeerAttentionImpl(std::int64_t features, std::int64_t factor = 8)
        : features_(features), factor_(factor) {
        if (features < 1 || factor < 1 || features / factor < 1) {
            throw ConfigError(
                detail::concat("PeerAttention: expected at least as many features as the factor, found ",
                               features, " and ", factor));
        }
        reset();
    }
    void reset() override {
        const auto options = torch::nn::LinearOptions(features_, features_ / factor_).bias(false);
        query = register_module("query", torch::nn::Linear(options));
        key = register_module("key", torch::nn::Linear(options));
    }
    /// \throws ShapeError if features or branches do not match
    std::vector<at::Tensor> forward(const std::vector<at::Tensor>& features,
                                    const std::vector<at::Tensor>& branches) {
        const at::Tensor answers = detail::stacked_branches("PeerAttention", branches, features.size());
        const at::Tensor all = detail::stacked_branches("PeerAttention", features, branches.size());
        const at::Tensor attention =
            at::softmax(at::bmm(query->forward(all), key->forward(all).transpose(1, 2)), 2);
        return at::bmm(attention, answers).unbind(1);
    }
    torch::nn::Linear query{nullptr};
    torch::nn::Linear key{nullptr};

  private:
    std::int64_t features_;
    std::int64_t factor_;
};
TORCH_MODULE(PeerAttention);

}  // namespace retort
