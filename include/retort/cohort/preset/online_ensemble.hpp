// SPDX-License-Identifier: BSL-1.0
/// \file
/// Online ensembles: the branches of one network teach each other (ONE, OKDDip).
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/knowledge/adaptor/within.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/network/branch_gate.hpp>
#include <retort/network/peer_attention.hpp>
#include <retort/schedule/ramp_up.hpp>
#include <retort/tap/taps.hpp>

namespace retort {

/// Options of `native_ensemble`.
struct NativeEnsembleOptions {
    SoftTarget transfer = SoftTarget::native_ensemble();
    RampUp ramp{.epochs = 80};  ///< of the ensemble's part
    CrossEntropy labels{};
};

/// ONE as edges of a learner whose branches and ensemble (`BranchGate`) are outputs of one network.
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
    RampUp ramp{.epochs = 80};  ///< of everything the peers teach; its `final` is the source's alpha
    CrossEntropy labels{};
};

/// OKDDip as edges of a learner: auxiliary peers that learn from their groups (`PeerAttention`), and a leader that
/// learns from the mean of the peers.
///
/// Formula: \f$ \sum_i \mathrm{CE}(z_i, y) + \mathrm{CE}(z_l, y) + w(\text{epoch}) T^2 \left( \sum_i
/// \mathrm{KL}(p_{g(i)} \| p_i) + \mathrm{KL}(p_{\bar z} \| p_l) \right) \f$. As released, the targets are not
/// constants: they are trained, too, and so are queries, keys and, through the leader's part, the peers.
/// \param groups taps of the targets of the peers, in the peers' order
/// \param mean tap of the mean of the peers' logits
/// Source: see `PeerAttention`.
template <std::size_t Position = 0, class... Peers, class... Groups, class Leader, class Mean>
auto diverse_peers(const Taps<Peers...>& peers, const Taps<Groups...>& groups, const Leader& leader,
                   const Mean& mean, const DiversePeersOptions& options = {}) {
    static_assert(sizeof...(Peers) == sizeof...(Groups) && sizeof...(Peers) > 0,
                  "retort: every peer has a target: expected as many taps of groups as of peers");
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
