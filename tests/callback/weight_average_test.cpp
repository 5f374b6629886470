// SPDX-License-Identifier: BSL-1.0
/// \file
/// A moving average of the student's weights: its values, what callbacks see of it, checkpoints.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace weight_average_test {

using namespace retort_test;
using retort::WeightAverage;

namespace {
auto trainer_of(const ConvNet& net) {
    return retort::Trainer{net, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}},
                           retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.1}};
}
std::vector<torch::Tensor> copies(const std::vector<torch::Tensor>& tensors) {
    std::vector<torch::Tensor> result;
    for (const auto& each : tensors) result.push_back(each.detach().clone());
    return result;
}
}  // namespace

TEST_CASE("the average follows the formula, and training is unaffected") {
    const auto batches = images(4);
    for (const bool warm_up : {true, false}) {
        for (const bool buffers : {true, false}) {
            torch::manual_seed(1);
            ConvNet plain;
            torch::manual_seed(1);
            ConvNet net, other;
            trainer_of(plain).fit(batches, {.epochs = 2});

            auto expected = copies(net->parameters());
            auto expected_mean = net->norm->running_mean.clone();
            WeightAverage average{{.decay = 0.6, .warm_up = warm_up, .buffers = buffers}};
            std::int64_t step = 0;
            trainer_of(net).fit(
                batches, {.epochs = 2}, average, retort::on_step_end([&](retort::FitContext&) {
                    ++step;
                    const double share =
                        warm_up ? std::min(0.6, 1 - 1.0 / static_cast<double>(step + 1)) : 0.6;
                    const torch::NoGradGuard no_grad;
                    for (std::size_t i = 0; i < expected.size(); ++i)
                        expected[i] = expected[i] * share + net->parameters()[i] * (1 - share);
                    expected_mean = expected_mean * share + net->norm->running_mean * (1 - share);
                }));
            CHECK(average.steps() == 8);
            CHECK(same(net->parameters(), plain->parameters()));
            average.copy_to(*other);
            for (std::size_t i = 0; i < expected.size(); ++i)
                CHECK(close(other->parameters()[i], expected[i], 1e-5, 1e-6));
            if (buffers) {
                CHECK(close(other->norm->running_mean, expected_mean, 1e-5, 1e-6));
            } else {
                CHECK(same(other->norm->running_mean, torch::zeros_like(expected_mean)));
            }
        }
    }
}

TEST_CASE("callbacks within `during` see the average, and the student's weights are restored") {
    const auto batches = images(4), validation = images(2, 20, 8);
    torch::manual_seed(1);
    ConvNet net, other;
    auto trainer = trainer_of(net);
    WeightAverage average{{.decay = 0.9}};
    std::vector<torch::Tensor> seen;
    const auto& history =
        trainer.fit(batches, {.epochs = 2}, average, retort::Validation{validation},
                    average.during(retort::Validation{validation}.named("average")),
                    retort::on_epoch_end([&](retort::FitContext&) { seen = copies(net->parameters()); }));
    CHECK(same(net->parameters(), seen));
    average.copy_to(*other);
    for (const auto& buffer : net->named_buffers())
        other->named_buffers()[buffer.key()].copy_(buffer.value());
    CHECK(history.last("average_accuracy") == retort::evaluate(other, validation).value());
    CHECK(history.last("validation_accuracy") == retort::evaluate(net, validation).value());
    // After an error the weights are restored, too.
    CHECK_THROWS_AS(trainer.fit(batches, {.epochs = 3}, average,
                                average.during(retort::on_epoch_end([&](retort::FitContext&) {
                                    seen = copies(net->parameters());
                                    throw std::runtime_error("no");
                                }))),
                    std::runtime_error);
    average.copy_to(*other);
    CHECK(same(seen, other->parameters()));
    CHECK_FALSE(same(seen, net->parameters()));
}

TEST_CASE("callbacks that see the average come after it") {
    ConvNet net;
    auto trainer = trainer_of(net);
    WeightAverage average;
    int epochs = 0;
    auto during = average.during(retort::on_epoch_end([&](retort::FitContext&) { ++epochs; }));
    CHECK(
        holds(words_of<retort::ConfigError>([&] { trainer.fit(images(1), {.epochs = 1}, during, average); }),
              "expected it before the callbacks that see the average"));
    CHECK(epochs == 0);
    CHECK(trainer.history().empty());
}

TEST_CASE("a run with an average resumes, and can hand it over") {
    const auto batches = images(4);
    const auto run = [&](const ConvNet& net, int stop, const std::filesystem::path& path, bool hand_over) {
        WeightAverage average{{.decay = 0.9, .hand_over = hand_over}};
        auto trainer = trainer_of(net);
        std::FILE* const silent = std::fopen("/dev/null", "w");
        if (std::filesystem::exists(path)) trainer.resume(path);
        int steps = 0;
        trainer.fit(batches, {.epochs = 3}, average,
                    average.during(retort::Validation{images(1)}.named("average")),
                    retort::Checkpoint{path, {.every_steps = 1, .stream = silent}},
                    retort::on_step_end([&](retort::FitContext&) { return ++steps < stop; }));
        std::fclose(silent);
        return average;
    };
    TemporaryDirectory directory;
    torch::manual_seed(1);
    ConvNet whole;
    const auto one = run(whole, 99, directory / "whole", false);
    torch::manual_seed(1);
    ConvNet first, second, average;
    run(first, 6, directory / "parts", false);
    const auto other = run(second, 99, directory / "parts", true);
    CHECK(other.steps() == one.steps());
    one.copy_to(*average);
    CHECK(same(second->parameters(), average->parameters()));
    CHECK_FALSE(same(second->parameters(), whole->parameters()));
}

TEST_CASE("an average of another network, or of none, is refused") {
    CHECK(words_of<retort::ConfigError>([] { WeightAverage{{.decay = 1.0}}; }) ==
          "WeightAverage: expected a decay in [0, 1), found 1");
    WeightAverage average;
    ConvNet net(4), wide(6);
    CHECK(holds(words_of<retort::ConfigError>([&] { average.copy_to(*net); }),
                "there is no average before the first fit"));
    trainer_of(net).fit(images(1), {.epochs = 1}, average);
    CHECK(
        holds(words_of<retort::ConfigError>([&] { trainer_of(wide).fit(images(1), {.epochs = 1}, average); }),
              "or other shapes"));
}

}  // namespace weight_average_test
