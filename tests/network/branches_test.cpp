// SPDX-License-Identifier: BSL-1.0
/// \file
/// The parts of networks with branches: their errors. Their values are tested with the presets that use them.
#include <retort_test.hpp>

#include <retort/network/branch_gate.hpp>
#include <retort/network/logit_ensemble.hpp>
#include <retort/network/peer_attention.hpp>

namespace branches_test {

using namespace retort_test;

TEST_CASE("gates, attentions and ensembles of branches refuse mismatches") {
    const auto z = torch::rand({2, 5});
    retort::BranchGate gate(4, 3);
    CHECK_THROWS_AS(gate->forward(torch::rand({2, 4}), {z, z}), retort::ShapeError);
    CHECK_THROWS_AS(gate->forward(torch::rand({2, 4}), {z, z, torch::rand({2, 6})}), retort::ShapeError);
    CHECK_THROWS_AS(retort::BranchGate(0, 3), retort::ConfigError);
    CHECK_THROWS_AS(retort::PeerAttention(4, 8), retort::ConfigError);
    CHECK(holds(words_of<retort::ConfigError>([] { retort::LogitEnsemble(0); }), "at least one student"));
    CHECK_THROWS_AS(retort::LogitEnsemble(3)->forward({z, z}), retort::ShapeError);
    CHECK_THROWS_AS(retort::LogitEnsemble(2)->forward({z, torch::rand({2, 6})}), retort::ShapeError);
}

}  // namespace branches_test
