// SPDX-License-Identifier: BSL-1.0
/// \file
/// Online ensembles: the branches of one network teach each other (ONE, OKDDip).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/adaptor/within.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/schedule/ramp_up.hpp>
#include <retort/tap/taps.hpp>

namespace retort {

namespace detail {

inline at::Tensor stacked_branches(const char* where, const std::vector<at::Tensor>& branches,
                                   std::size_t expected) {
    if (branches.size() != expected || expected == 0) {
        throw ShapeError(concat(where, ": expected ", expected, " branches, found ", branches.size()));
    }
    for (std::size_t i = 0; i < branches.size(); ++i) {
        check_alike(where, "branch 0", branches[0], concat("branch ", i), branches[i]);
    }
    check_logits(where, "branch 0", branches[0]);
    return at::stack(branches, 1);
}

}  // namespace detail

/// The gate of ONE: how much each branch counts for a sample, from what the branches share.
///
/// Formula: \f$ g = \sigma(\mathrm{ReLU}(\mathrm{BN}(W f + b))) \f$, ensemble \f$ \sum_b g_b z_b \f$.
/// Shapes: feature [batch, features], each branch [batch, classes]; ensemble [batch, classes].
/// Source: Zhu, Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, as in the released
/// code. A part of the user's network: the ensemble is one of its outputs.
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
    /// \throws ShapeError if the branches do not fit together
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

/// The attention of OKDDip: each peer's own mean of all peers.
///
/// Formula: \f$ a = \sigma(Q K^\top) \f$ with the queries and keys of the peers' features (without biases, not
/// divided by the root of their size); target of peer i \f$ \sum_j a_{ij} z_j \f$.
/// Shapes: features and branches of each peer, [batch, features] and [batch, classes]; one target a peer.
/// Source: Chen, Mei, Wang, Feng, Chen, "Online Knowledge Distillation with Diverse Peers", AAAI 2020, as in
/// the released code, where queries and keys have an eighth of the features. A part of the user's network.
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
    /// \throws ShapeError if features or branches do not fit together
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

/// Options of `native_ensemble`.
struct NativeEnsembleOptions {
    SoftTarget transfer = SoftTarget::native_ensemble();
    RampUp ramp{.epochs = 80};  ///< of the ensemble's part
    CrossEntropy labels{};
};

/// ONE as edges of a learner whose branches and whose ensemble (`BranchGate`) are outputs of one network.
///
///     auto graph = retort::native_ensemble(
///         retort::Taps{retort::tap<&Outputs::branches, 0>, retort::tap<&Outputs::branches, 1>},
///         retort::tap<&Outputs::ensemble>);
///
/// Formula: \f$ \sum_b \mathrm{CE}(z_b, y) + \mathrm{CE}(z_e, y) + w(\text{epoch}) \sum_b T^2 \mathrm{KL}(p_e \|
/// p_b) \f$; the ensemble is a constant for the branches.
/// Source: see `BranchGate`.
template <std::size_t Position = 0, class... Branches, class Whole>
auto native_ensemble(const Taps<Branches...>& branches, const Whole& ensemble,
                     const NativeEnsembleOptions& options = {}) {
    const gate::Through through;
    return std::apply(
        [&](const auto&... branch) {
            return TransferGraph(
                label<Position>(Within(options.labels, branch))...,
                label<Position>(Within(options.labels, ensemble)),
                label<Position>(Within(options.transfer, branch, ensemble), through, options.ramp)...);
        },
        branches.all());
}

/// Options of `diverse_peers`.
struct DiversePeersOptions {
    SoftTarget transfer = SoftTarget::diverse_peers();
    RampUp ramp{.epochs = 80};  ///< of all that the peers teach; its `final` is the source's alpha
    CrossEntropy labels{};
};

/// OKDDip as edges of a learner: auxiliary peers that learn from groups of their own (`PeerAttention`), and a
/// leader that learns from the mean of the peers.
///
/// Formula: \f$ \sum_i \mathrm{CE}(z_i, y) + \mathrm{CE}(z_l, y) + w(\text{epoch}) T^2 \left( \sum_i
/// \mathrm{KL}(p_{g(i)} \| p_i) + \mathrm{KL}(p_{\bar z} \| p_l) \right) \f$. As released, the targets are no
/// constants: they learn, too, and so do queries, keys and, through the leader's part, the peers.
/// \param groups taps of the targets of the peers, in the peers' order
/// \param mean tap of the mean of the peers' logits
/// Source: see `PeerAttention`.
template <std::size_t Position = 0, class... Peers, class... Groups, class Leader, class Mean>
auto diverse_peers(const Taps<Peers...>& peers, const Taps<Groups...>& groups, const Leader& leader,
                   const Mean& mean, const DiversePeersOptions& options = {}) {
    static_assert(sizeof...(Peers) == sizeof...(Groups) && sizeof...(Peers) > 0,
                  "retort: every peer has a target: as many taps of groups as of peers");
    const gate::Through through;
    return std::apply(
        [&](const auto&... peer) {
            return std::apply(
                [&](const auto&... group) {
                    return TransferGraph(
                        label<Position>(Within(options.labels, peer))...,
                        label<Position>(Within(options.labels, leader)),
                        label<Position>(Within(options.transfer, peer, group), through, options.ramp)...,
                        label<Position>(Within(options.transfer, leader, mean), through, options.ramp));
                },
                groups.all());
        },
        peers.all());
}

}  // namespace retort
