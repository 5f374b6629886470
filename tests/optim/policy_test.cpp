// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a trainer takes as its optimizer: recipes, existing optimizers, scheduled learning rates.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/optim.hpp>
#include <retort/schedule.hpp>

namespace policy_test {

using namespace retort_test;
using retort::FromTorch;
using retort::OptimizerPolicy;
using retort::Progress;
using retort::Sgd;
using retort::WithLearningRate;

namespace {
std::vector<torch::Tensor> some(std::int64_t count) {
    std::vector<torch::Tensor> result;
    for (std::int64_t i = 0; i < count; ++i) result.push_back(torch::rand({2}).requires_grad_());
    return result;
}
std::vector<retort::NamedParameter> named(const std::vector<torch::Tensor>& tensors) {
    std::vector<retort::NamedParameter> result;
    for (const auto& each : tensors) result.push_back({std::to_string(result.size()), each});
    return result;
}
struct Unchecked {  // a user's schedule
    double weight(const Progress& progress) const { return progress.epoch == 0 ? 1.0 : -1.0; }
};
}  // namespace

TEST_CASE("a recipe is built for the student and the learnable parts") {
    const auto student = some(2), parts = some(1);
    OptimizerPolicy policy = Sgd{.learning_rate = 0.5};
    CHECK_FALSE(policy.built());
    policy.build(named(student), named(parts));
    REQUIRE(policy.built());
    REQUIRE(policy.optimizer().param_groups().size() == 1);
    CHECK(policy.optimizer().param_groups()[0].params().size() == 3);
    CHECK(policy.learning_rate() == 0.5);
    policy.set_learning_rate({.epoch = 9});
    CHECK(policy.learning_rate() == 0.5);
}

TEST_CASE("a recipe is checked at once") {
    CHECK_THROWS_AS(OptimizerPolicy(Sgd{.learning_rate = -1}), retort::ConfigError);
    CHECK_THROWS_AS(OptimizerPolicy(WithLearningRate{Sgd{.momentum = -1}, retort::Constant{}}),
                    retort::ConfigError);
    CHECK_THROWS_AS(OptimizerPolicy(WithLearningRate{Sgd{}, retort::Linear{.epochs = -1}}),
                    retort::ConfigError);
}

TEST_CASE("LibTorch's own optimizers by their options") {
    const auto ours = some(2);
    const std::vector<torch::Tensor> theirs{ours[0].detach().clone().requires_grad_(),
                                            ours[1].detach().clone().requires_grad_()};
    const auto recipe = FromTorch<torch::optim::AdamW>{torch::optim::AdamWOptions(1e-2).weight_decay(0.1)};
    const std::unique_ptr<torch::optim::AdamW> one = recipe.build(ours);
    torch::optim::AdamW other(theirs, torch::optim::AdamWOptions(1e-2).weight_decay(0.1));
    for (int i = 0; i < 4; ++i) {
        for (const auto* parameters : {&ours, &theirs}) {
            ((*parameters)[0] * (*parameters)[1]).sum().backward();
        }
        one->step();
        other.step();
    }
    CHECK(same(ours, theirs));
    OptimizerPolicy policy = recipe;
    policy.build(named(some(1)), {});
    CHECK(policy.learning_rate() == 1e-2);
}

TEST_CASE("an existing optimizer gets the learnable parts as another group") {
    const auto student = some(2), parts = some(2);
    torch::optim::SGD optimizer(student, torch::optim::SGDOptions(0.25).momentum(0.5));
    OptimizerPolicy policy = optimizer;
    policy.build(named(student), named(parts));
    CHECK(&policy.optimizer() == &optimizer);
    REQUIRE(optimizer.param_groups().size() == 2);
    CHECK(optimizer.param_groups()[1].params().size() == 2);
    CHECK(optimizer.param_groups()[1].options().get_lr() == 0.25);
    OptimizerPolicy(optimizer).build(named(student), named(parts));  // they are already there
    CHECK(optimizer.param_groups().size() == 2);
    OptimizerPolicy(optimizer).build(named(student), {});
    CHECK(optimizer.param_groups().size() == 2);
}

TEST_CASE("a shared optimizer") {
    const auto student = some(1);
    const auto optimizer = std::make_shared<torch::optim::Adam>(student, torch::optim::AdamOptions(0.1));
    OptimizerPolicy policy = optimizer;
    policy.build(named(student), {});
    CHECK(&policy.optimizer() == optimizer.get());
    CHECK(words_of<retort::ConfigError>([] { OptimizerPolicy(std::shared_ptr<torch::optim::SGD>()); }) ==
          "optimizer: expected an optimizer, found a null pointer");
}

TEST_CASE("an optimizer of other parameters is refused") {
    torch::optim::SGD optimizer(some(2), torch::optim::SGDOptions(0.25));
    OptimizerPolicy policy = optimizer;
    CHECK(words_of<retort::ConfigError>([&] { policy.build(named(some(2)), named(some(1))); }) ==
          "optimizer: expected one that was built on the student's parameters, found none of them in it");
    CHECK(optimizer.param_groups().size() == 1);
    CHECK_FALSE(policy.built());
}

TEST_CASE("an optimizer of some of the parameters trains these") {
    const auto student = some(2);
    torch::optim::SGD optimizer({student[1]}, torch::optim::SGDOptions(0.25));
    OptimizerPolicy policy = optimizer;
    CHECK_NOTHROW(policy.build(named(student), {}));
}

TEST_CASE("milestones scale the learning rate of every group") {
    const auto student = some(2);
    OptimizerPolicy policy =
        WithLearningRate{Sgd{.learning_rate = 0.5}, retort::MultiStep{.milestones = {2, 3}, .factor = 0.5}};
    policy.build(named(student), {});
    retort::MultiTensorSgdOptions slow;
    slow.learning_rate = 7.0;  // a group added later keeps its own rate
    static_cast<retort::MultiTensorSgd&>(policy.optimizer())
        .add_param_group({some(1), std::make_unique<retort::MultiTensorSgdOptions>(slow)});
    for (const auto& [epoch, rate] : {std::pair{0, 0.5}, {1, 0.5}, {2, 0.25}, {3, 0.125}, {0, 0.5}}) {
        policy.set_learning_rate({.epoch = epoch});
        CHECK(policy.learning_rate() == rate);
        CHECK(policy.optimizer().param_groups()[1].options().get_lr() == 7.0);
    }
}

TEST_CASE("warm-up, then a cosine, step by step") {
    OptimizerPolicy policy =
        WithLearningRate{Sgd{.learning_rate = 2.0},
                         retort::WarmUp{retort::Cosine{.every = retort::Every::step}, {.epochs = 1}}};
    policy.build(named(some(1)), {});
    for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
        for (std::int64_t step = 0; step < 2; ++step) {
            policy.set_learning_rate({.epoch = epoch, .epochs = 4, .step = step, .steps_per_epoch = 2});
            const double e = static_cast<double>(epoch) + static_cast<double>(step) / 2;
            const double expected = 2.0 * std::min(1.0, e) * 0.5 * (1 + std::cos(std::acos(-1.0) * e / 4));
            CHECK(policy.learning_rate() == Approx(expected).margin(1e-12));
        }
    }
}

TEST_CASE("a schedule with a rate below 0 is refused, with its position") {
    OptimizerPolicy policy = WithLearningRate{Sgd{}, Unchecked{}};
    policy.build(named(some(1)), {});
    CHECK_NOTHROW(policy.set_learning_rate({}));
    CHECK(words_of<retort::ConfigError>([&] { policy.set_learning_rate({.epoch = 3, .step = 4}); }) ==
          "learning rate: expected the schedule to give a factor of at least 0, found -1 in epoch 3, step 4");
}

TEST_CASE("an optimizer rebuilt each epoch is a new one for every epoch, and the rates stay scheduled") {
    const auto adam = FromTorch<torch::optim::Adam>{torch::optim::AdamOptions(0.1)};
    const auto ours = torch::ones({2}).requires_grad_(), theirs = torch::ones({2}).requires_grad_();
    const auto gradient = [](const torch::Tensor& parameter, std::int64_t step) {
        parameter.mutable_grad() = torch::tensor({1.0F + static_cast<float>(step), -0.5F});
    };
    OptimizerPolicy policy =
        WithLearningRate{retort::RebuiltEachEpoch{adam}, retort::Step{.factor = 0.5, .epochs = 1}};
    policy.build(named({ours}), {});
    for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
        torch::optim::Adam fresh({theirs}, torch::optim::AdamOptions(0.1 * std::pow(0.5, epoch)));
        for (std::int64_t step = 0; step < 3; ++step) {
            policy.set_learning_rate({.epoch = epoch, .step = step});
            gradient(ours, step), gradient(theirs, step);
            policy.optimizer().step();
            fresh.step();
            CHECK(same(ours.detach(), theirs.detach()));
        }
    }
    // In the middle of an epoch whose start was not seen, the state is kept.
    OptimizerPolicy resumed = retort::RebuiltEachEpoch{adam};
    resumed.build(named({ours}), {});
    const auto* before = &resumed.optimizer();
    resumed.set_learning_rate({.epoch = 4, .step = 2});
    CHECK(&resumed.optimizer() == before);
    CHECK_THROWS_AS(OptimizerPolicy(retort::RebuiltEachEpoch{Sgd{.learning_rate = -1}}), retort::ConfigError);
}

}  // namespace policy_test
