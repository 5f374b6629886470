// SPDX-License-Identifier: BSL-1.0
/// \file
/// Learners that teach themselves: branches, exits and ensembles of one network, against reference values.
#include <golden.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/optim.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace be_your_own_teacher_test {

using namespace retort_test;
using retort::SoftTarget;
using retort::tap;
using retort::Taps;

namespace {
/// The outputs of a network with branches.
struct Branches {
    std::vector<torch::Tensor> exits, features, groups;
    torch::Tensor logits, feature, mean;
};
/// The sum of a graph's edges, as in a learner's step.
template <class Graph>
torch::Tensor loss_of(const Graph& graph, const Branches& outputs, const torch::Tensor& target,
                      const retort::Progress& progress = {}) {
    torch::Tensor total;
    graph.each([&](std::size_t, const auto& edge) {
        const double weight = edge.weight(1, progress);
        if (weight == 0) return;
        const auto value =
            edge.loss(outputs, retort::NoOutputs{}, PairBatch{torch::Tensor(), target}, progress) * weight;
        total = total.defined() ? total + value : value;
    });
    return total;
}
const Taps three_exits{tap<&Branches::exits, 0>, tap<&Branches::exits, 1>, tap<&Branches::exits, 2>};
const Taps three_features{tap<&Branches::features, 0>, tap<&Branches::features, 1>,
                          tap<&Branches::features, 2>};
}  // namespace

TEST_CASE("be_your_own_teacher agrees with released code") {
    for (const golden::Case& reference : golden::cases("byot__byot")) {
        const auto exits = reference.leaves("logits_middle"), features = reference.leaves("feat_middle");
        const auto last = reference.leaf("logits_final"), deep = reference.leaf("feat_final");
        REQUIRE(exits.size() == 3);
        const auto graph = retort::be_your_own_teacher(three_exits, tap<&Branches::logits>, three_features,
                                                       tap<&Branches::feature>,
                                                       {.alpha = reference.option("alpha"),
                                                        .beta = reference.option("beta"),
                                                        .temperature = reference.option("T")});
        const auto value = loss_of(
            graph,
            {.exits = exits, .features = features, .groups = {}, .logits = last, .feature = deep, .mean = {}},
            reference.input("target"));
        CHECK(golden::agrees(reference, value,
                             {{"logits_final", {last}},
                              {"logits_middle", exits},
                              {"feat_final", {deep}},
                              {"feat_middle", features}}));
    }
}

TEST_CASE("native_ensemble with its gate agrees with the authors' code") {
    for (const golden::Case& reference : golden::cases("one__one")) {
        const auto exits = reference.leaves("logits");
        const auto feature = reference.leaf("gate_features");
        retort::BranchGate gate(feature.size(1), static_cast<std::int64_t>(exits.size()));
        gate->to(torch::kFloat64);
        {
            const torch::NoGradGuard no_grad;
            gate->control->weight.copy_(reference.parameter("control_v1.weight"));
            gate->control->bias.copy_(reference.parameter("control_v1.bias"));
            gate->norm->weight.copy_(reference.parameter("bn_v1.weight"));
            gate->norm->bias.copy_(reference.parameter("bn_v1.bias"));
            gate->norm->running_mean.copy_(reference.parameter("bn_v1.running_mean"));
            gate->norm->running_var.copy_(reference.parameter("bn_v1.running_var"));
        }
        const auto ensemble = gate->forward(feature, exits);
        INFO(reference.name());
        CHECK(golden::deviation(ensemble, reference.component("ensemble_logits")) <= 1e-8);
        CHECK(golden::deviation(gate->norm->running_mean, reference.component("after.bn_v1.running_mean")) <=
              1e-8);
        const auto graph = retort::native_ensemble(three_exits, tap<&Branches::logits>,
                                                   {.ramp = {.epochs = reference.option("rampup")}});
        const auto value = loss_of(
            graph,
            {.exits = exits, .features = {}, .groups = {}, .logits = ensemble, .feature = {}, .mean = {}},
            reference.input("target"),
            {.epoch = static_cast<std::int64_t>(reference.option("epoch")), .epochs = 300});
        CHECK(golden::agrees(reference, value,
                             {{"logits", exits},
                              {"gate_features", {feature}},
                              {"control_v1.weight", {gate->control->weight}},
                              {"control_v1.bias", {gate->control->bias}},
                              {"bn_v1.weight", {gate->norm->weight}},
                              {"bn_v1.bias", {gate->norm->bias}}}));
    }
}

TEST_CASE("diverse_peers with their attention agree with the authors' code") {
    int compared = 0;
    for (const golden::Case& reference : golden::cases("okddip__okddip")) {
        const auto exits = reference.leaves("logits"), features = reference.leaves("features");
        const auto leader = reference.leaf("logits_leader");
        retort::PeerAttention attention(features[0].size(1),
                                        static_cast<std::int64_t>(reference.option("factor")));
        attention->to(torch::kFloat64);
        {
            const torch::NoGradGuard no_grad;
            attention->query->weight.copy_(reference.parameter("query_weight"));
            attention->key->weight.copy_(reference.parameter("key_weight"));
        }
        const auto groups = attention->forward(features, exits);
        const auto mean = torch::stack(exits, 2).mean(2);
        SoftTarget transfer = SoftTarget::diverse_peers();
        if (reference.word("loss") == "CE") transfer.form = SoftTarget::Form::cross_entropy;
        const retort::DiversePeersOptions options{
            .transfer = transfer,
            .ramp = {.epochs = 0,
                     .final = reference.option("alpha") * reference.option("consistency_weight")}};
        const Branches outputs{.exits = exits,
                               .features = features,
                               .groups = groups,
                               .logits = leader,
                               .feature = {},
                               .mean = mean};
        const auto target = reference.input("target");
        const auto value = [&] {
            if (exits.size() == 3) {
                return loss_of(
                    retort::diverse_peers(
                        three_exits,
                        Taps{tap<&Branches::groups, 0>, tap<&Branches::groups, 1>, tap<&Branches::groups, 2>},
                        tap<&Branches::logits>, tap<&Branches::mean>, options),
                    outputs, target);
            }
            REQUIRE(exits.size() == 2);
            return loss_of(retort::diverse_peers(Taps{tap<&Branches::exits, 0>, tap<&Branches::exits, 1>},
                                                 Taps{tap<&Branches::groups, 0>, tap<&Branches::groups, 1>},
                                                 tap<&Branches::logits>, tap<&Branches::mean>, options),
                           outputs, target);
        }();
        CHECK(golden::agrees(reference, value,
                             {{"logits", exits},
                              {"features", features},
                              {"logits_leader", {leader}},
                              {"query_weight", {attention->query->weight}},
                              {"key_weight", {attention->key->weight}}}));
        ++compared;
    }
    CHECK(compared == 6);
}

TEST_CASE("a network that teaches itself trains in a cohort of one as in a trainer without a teacher") {
    torch::manual_seed(1);
    ConvNet net(4), other(4);
    copy_state(*net, *other);
    const auto shallow = [](const ConvOutputs& outputs) { return outputs.early.mean({2, 3}).slice(1, 0, 3); };
    const retort::Within soft{SoftTarget{}, shallow, tap<&ConvOutputs::logits>};
    retort::Cohort cohort{retort::Learner{net, retort::Sgd{}}};
    retort::TransferGraph graph{retort::label<0>(), retort::label<0>(soft, retort::gate::Through{}, 0.5)};
    retort::Trainer trainer{other, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}, soft},
                            retort::Schedule{1.0, 0.5}, retort::Sgd{}};
    auto run = cohort.along(graph);
    for (const auto& batch : images(3)) {
        run.step(batch);
        trainer.step(batch);
    }
    CHECK(same(state(*net), state(*other)));
    CHECK(soft.name() == "soft_target(tap,logits)");
}

TEST_CASE("a ramp follows its curve") {
    const retort::RampUp ramp{.epochs = 80};
    CHECK(ramp.weight({.epoch = 0}) == Approx(std::exp(-5.0)));
    CHECK(ramp.weight({.epoch = 40}) == Approx(std::exp(-1.25)));
    CHECK(ramp.weight({.epoch = 80}) == 1.0);
    CHECK(ramp.weight({.epoch = 200}) == 1.0);
    CHECK_THROWS_AS((retort::RampUp{.epochs = -1}.check()), retort::ConfigError);
}

TEST_CASE("be_your_own_teacher refuses options that make no sense") {
    CHECK_THROWS_AS((retort::OwnTeacherOptions{.alpha = 1.5}.check()), retort::ConfigError);
}

}  // namespace be_your_own_teacher_test
