// SPDX-License-Identifier: BSL-1.0
/// \file
/// Options by the names and shapes of parameters, alone and in a trainer.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace parameter_groups_test {

using namespace retort_test;
using retort::AdamW;
using retort::GroupRule;
using retort::Knowledge;
using retort::NamedParameter;
using retort::ParameterGroups;
using retort::Schedule;
using retort::Sgd;

namespace {
std::vector<NamedParameter> some() {
    std::vector<NamedParameter> result;
    const auto add = [&](const char* name, at::IntArrayRef sizes) {
        result.push_back({name, torch::ones(sizes).requires_grad_()});
    };
    add("stem.weight", {2, 2});
    add("stem.bias", {2});
    add("stages.0.weight", {2, 2});
    add("stages.0.norm.weight", {2});
    add("head.weight", {3, 2});
    return result;
}
std::string words(const std::vector<GroupRule>& rules) {
    return words_of<retort::ConfigError>([&] {
        const ParameterGroups groups{Sgd{.weight_decay = 0.5}, rules};
        groups.check();
        groups.build(some());
    });
}
}  // namespace

TEST_CASE("patterns of names") {
    using retort::detail::matches;
    CHECK(matches("*", ""));
    CHECK(matches("*", "a.b"));
    CHECK(matches("stem.*", "stem.norm.weight"));
    CHECK(matches("*.bias", "a.b.bias"));
    CHECK(matches("*.norm?.*", "stages.0.norm1.weight"));
    CHECK(matches("a*b*c", "axxbyybzzc"));
    CHECK_FALSE(matches("stem", "stem.weight"));
    CHECK_FALSE(matches("*.bias", "bias"));
    CHECK_FALSE(matches("a?", "a"));
    CHECK_FALSE(matches("", "a"));
    CHECK_FALSE(matches("a*b", "abc"));
}

TEST_CASE("rules form groups; all that match a parameter apply, the last one wins") {
    const auto parameters = some();
    const ParameterGroups groups{Sgd{.learning_rate = 0.5, .momentum = 0.9, .weight_decay = 0.25},
                                 {retort::no_decay_on_vectors(),
                                  {.names = "stem.*", .learning_rate = 0.1},
                                  {.names = "head.*", .frozen = true},
                                  {.names = "stages.*", .learning_rate = 3.0},
                                  {.names = "stages.0.weight", .learning_rate = 1.0}}};
    groups.check();
    const auto optimizer = groups.build(parameters);
    struct Expected {
        std::vector<std::size_t> parameters;
        double rate, decay;
    };
    const std::vector<Expected> expected{
        {{2}, 0.5, 0.25}, {{0}, 0.05, 0.25}, {{1}, 0.05, 0.0}, {{3}, 1.5, 0.0}};
    REQUIRE(optimizer->param_groups().size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const auto& group = optimizer->param_groups()[i];
        const auto& options = static_cast<const retort::MultiTensorSgdOptions&>(group.options());
        REQUIRE(group.params().size() == expected[i].parameters.size());
        for (std::size_t j = 0; j < expected[i].parameters.size(); ++j)
            CHECK(group.params()[j].is_same(parameters[expected[i].parameters[j]].tensor));
        CHECK(options.learning_rate == Approx(expected[i].rate));
        CHECK(options.weight_decay == expected[i].decay);
        CHECK(options.momentum == 0.9);
    }
    CHECK_FALSE(parameters[4].tensor.requires_grad());
    CHECK(parameters[3].tensor.requires_grad());
}

TEST_CASE("invalid rules are refused, with similar names") {
    CHECK(words({{.names = "stam.*", .frozen = true}}) ==
          "ParameterGroups: expected parameters named \"stam.*\", found none; did you mean stem.bias, "
          "stem.weight or "
          "head.weight?");
    CHECK(holds(words({{.names = "stem.weight", .below_dimensions = 2, .frozen = true}}),
                "named \"stem.weight\" of fewer than 2 dimensions, found none; did you mean stem.weight"));
    CHECK(words({{.frozen = true}}) ==
          "ParameterGroups: expected parameters to train, found all of them frozen");
    CHECK(words({}) == "ParameterGroups: expected rules, found none");
    CHECK(holds(words({{.names = "*.bias"}}), "expected \"*.bias\" to have another learning rate"));
    CHECK(holds(words({{.learning_rate = -1.0}}), "found a learning rate of -1"));
    CHECK(holds(words({{.weight_decay = std::nan("")}}), "a weight decay of nan"));
    CHECK(holds(words({{.below_dimensions = -1, .frozen = true}}), "and -1 dimensions"));
    CHECK_THROWS_AS(retort::OptimizerPolicy(ParameterGroups{Sgd{.learning_rate = -1}, {{.frozen = true}}}),
                    retort::ConfigError);
}

TEST_CASE("in a trainer: a scheduled rate for each group, frozen parts stay, learnable parts have names") {
    torch::manual_seed(3);
    ConvNet student(4), teacher(6);
    std::map<std::string, torch::Tensor> start;
    for (const auto& item : student->named_parameters()) start[item.key()] = item.value().detach().clone();
    using retort::tap;
    retort::Trainer trainer{
        student, retort::Frozen{teacher},
        Knowledge{retort::CrossEntropy{},
                  retort::Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::early>, retort::Conv1x1{4, 6}}},
        Schedule{1.0, 1.0},
        retort::WithLearningRate{
            retort::RebuiltEachEpoch{ParameterGroups{Sgd{.learning_rate = 0.1, .momentum = 0.9},
                                                     {{.names = "first.*", .frozen = true},
                                                      {.names = "knowledge.*", .learning_rate = 10.0},
                                                      {.names = "*.bias", .learning_rate = 0.0}}}},
            retort::Step{.factor = 0.5, .epochs = 1}}};
    const auto batches = images(3);
    trainer.fit(batches, {.epochs = 2});
    CHECK(trainer.history().last("learning_rate") == Approx(0.05));
    std::vector<double> rates;
    for (const auto& group : trainer.optimizer()->param_groups()) rates.push_back(group.options().get_lr());
    CHECK(rates == std::vector<double>{0.05, 0.0, 0.5});
    for (const auto& item : student->named_parameters()) {
        const bool stays = item.key().starts_with("first.") || item.key().ends_with(".bias");
        INFO(item.key());
        CHECK(bool(same(item.value().detach(), start.at(item.key()))) == stays);
        CHECK(item.value().requires_grad() != item.key().starts_with("first."));
    }
    // Frozen parameters are no longer in the graph, and callbacks do not see them.
    trainer.step(batches[0]);
    std::size_t count = 0;
    trainer.fit(batches, {.epochs = 3}, retort::on_epoch_end([&](retort::FitContext& context) {
                    count = context.parameters.size();
                }));
    CHECK(count == student->parameters().size() - 2 + trainer.learnable_parts()->parameters().size());
}

}  // namespace parameter_groups_test
