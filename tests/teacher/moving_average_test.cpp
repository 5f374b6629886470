// SPDX-License-Identifier: BSL-1.0
/// \file
/// A moving average of the student as its teacher.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace moving_average_test {

using namespace retort_test;
using Catch::Contains;
using retort::MovingAverage;
using retort::MovingAverageOptions;

namespace {

void set_all(torch::nn::Module& module, double value) {
    const torch::NoGradGuard no_grad;
    for (auto& each : module.parameters()) each.fill_(value);
}

template <class N>
double first(const N& net) {
    return net->parameters().front().flatten()[0].template item<double>();
}

}  // namespace

TEST_CASE("the average starts as the student and follows it") {
    torch::manual_seed(1);
    Perceptron student, average;
    MovingAverage teacher{average, student, {.decay = 0.75, .warm_up = false}};
    CHECK(same(state(*average), state(*student)));
    set_all(*student, 1);
    set_all(*average, 0);
    teacher.update({});
    CHECK(first(average) == 0.25);
    teacher.update({});
    CHECK(first(average) == 0.4375);
    CHECK(teacher.steps() == 2);
    CHECK(first(student) == 1);
    CHECK(teacher.modules() == std::vector<torch::nn::Module*>{average.get()});
}

TEST_CASE("with a warm-up the initial weights are forgotten quickly") {
    Perceptron student, average;
    MovingAverage teacher{average, student, {.decay = 0.7}};
    set_all(*student, 1);
    set_all(*average, 0);
    teacher.update({});  // 1 - 1/2
    CHECK(first(average) == 0.5);
    teacher.update({});  // 1 - 1/3
    CHECK(first(average) == Approx(0.5 * 2 / 3 + 1.0 / 3));
    teacher.update({});  // 1 - 1/4 is more than 0.7
    CHECK(first(average) == Approx((0.5 * 2 / 3 + 1.0 / 3) * 0.7 + 0.3));
}

TEST_CASE("an option determines the buffers of batch norm") {
    for (const auto buffers : {MovingAverageOptions::Buffers::copy, MovingAverageOptions::Buffers::average,
                               MovingAverageOptions::Buffers::keep}) {
        torch::nn::Sequential student(torch::nn::BatchNorm1d(2)), average(torch::nn::BatchNorm1d(2));
        MovingAverage teacher{average, student, {.decay = 0.75, .warm_up = false, .buffers = buffers}};
        auto* mine = average[0]->as<torch::nn::BatchNorm1d>();
        auto* theirs = student[0]->as<torch::nn::BatchNorm1d>();
        theirs->running_mean.fill_(8);
        theirs->num_batches_tracked.fill_(5);
        teacher.update({});
        const bool keep = buffers == MovingAverageOptions::Buffers::keep;
        const bool mean = buffers == MovingAverageOptions::Buffers::average;
        CHECK(mine->running_mean[0].item<double>() == (keep ? 0 : mean ? 2 : 8));
        CHECK(mine->num_batches_tracked.item<std::int64_t>() == (keep ? 0 : 5));
    }
}

TEST_CASE("a trainer updates the average after every step, and gives it no gradient") {
    torch::manual_seed(1);
    Perceptron student, average;
    retort::Trainer trainer{student, MovingAverage{average, student, {.decay = 0.5, .warm_up = false}},
                            retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{}},
                            retort::Schedule{1.0, 1.0}, retort::Sgd{.learning_rate = 0.1}};
    const auto before = first(student);
    trainer.step(vectors(1)[0]);
    const auto after = first(student);
    CHECK(before != after);
    CHECK(first(average) == Approx((before + after) / 2));
    for (const auto& parameter : average->parameters()) CHECK_FALSE(parameter.grad().defined());
    CHECK(trainer.teacher().steps() == 1);
}

TEST_CASE("the average of 16-bit weights is kept in float32, and resumes") {
    torch::nn::Linear student(1, 1), average(1, 1), again(1, 1);
    for (auto* each : {&student, &average, &again}) {
        (*each)->to(torch::kBFloat16);
        const torch::NoGradGuard no_grad;
        for (auto& parameter : (*each)->parameters()) parameter.fill_(0);
    }
    retort::MovingAverage teacher{average, student, {.decay = 0.999, .warm_up = false}};
    {
        const torch::NoGradGuard no_grad;
        student->weight.fill_(1);
    }
    for (int step = 0; step < 1000; ++step) teacher.update({});
    retort::MovingAverage resumed{again, student, {.decay = 0.999, .warm_up = false}};
    retort::detail::StateItems items;
    retort::Archive saving(items);
    teacher.checkpoint(saving);
    retort::Archive loading(items, /*load=*/true, "state");
    resumed.checkpoint(loading);
    for (int step = 0; step < 1000; ++step) {
        teacher.update({});
        resumed.update({});
    }
    const double expected = 1 - std::pow(0.999, 2000);
    CHECK(std::abs(average->weight.item<double>() - expected) < 0.004);  // half a step of bfloat16 there
    CHECK(same(average->weight, again->weight));
}

TEST_CASE("an invalid average is refused") {
    Perceptron student, average(5);
    CHECK_THROWS_WITH((MovingAverage{average, student}), Contains("expected [") && Contains("found ["));
    CHECK_THROWS_WITH((MovingAverage{student, student}), Contains("found one that both share"));
    Perceptron fit;
    CHECK_THROWS_AS((MovingAverage{fit, student, {.decay = 1.0}}), retort::ConfigError);
    CHECK_THROWS_AS((MovingAverage{fit, student, {.decay = -0.1}}), retort::ConfigError);
    ConvNet other;
    CHECK_THROWS_AS((MovingAverage{other, student}), retort::ConfigError);
}

}  // namespace moving_average_test
