// SPDX-License-Identifier: BSL-1.0
/// \file
/// A critical period that ends by a measurement: on given curves, and on a network whose gradient is
/// known.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace adaptive_critical_period_test {

using namespace retort_test;
using retort::AdaptiveCriticalPeriod;
using retort::AdaptiveCriticalPeriodOptions;
using retort::Progress;

namespace {

/// The weights of the epochs 0, 1, ... of a run with these measured values.
std::vector<double> weights(const AdaptiveCriticalPeriodOptions& options, const std::vector<double>& measures,
                            std::optional<std::int64_t> last) {
    std::size_t next = 0;
    AdaptiveCriticalPeriod period{options, [&] { return measures[next++]; }};
    const AdaptiveCriticalPeriod copy = period;  // stored like in a Schedule
    retort::History history;
    torch::nn::Module nothing;
    const std::vector<torch::Tensor> parameters;
    retort::FitContext context{{}, history, nothing, parameters};
    period.on_fit_begin(context);
    std::vector<double> result;
    for (std::size_t epoch = 0; epoch < measures.size(); ++epoch) {
        history.begin_row();
        context.progress.epoch = static_cast<std::int64_t>(epoch);
        result.push_back(copy.weight(context.progress));
        period.on_epoch_end(context);
        const double noted = history.last("critical_period_measure");
        CHECK((noted == measures[epoch] || (std::isnan(noted) && std::isnan(measures[epoch]))));
    }
    CHECK(copy.last_epoch() == last);
    // Decisions are final: weights of the past do not change.
    for (std::size_t epoch = 0; epoch < measures.size(); ++epoch) {
        CHECK(copy.weight({.epoch = static_cast<std::int64_t>(epoch)}) == result[epoch]);
    }
    return result;
}

/// x times a weight that starts at 1.
struct ScalarImpl : torch::nn::Module {
    ScalarImpl() : weight(register_parameter("weight", torch::ones({1}))) {}
    torch::Tensor forward(const torch::Tensor& input) { return input * weight; }
    torch::Tensor weight;
};
TORCH_MODULE(Scalar);
/// The gradient of the weight is the weight.
struct HalfSquare {
    static constexpr bool needs_teacher = false, needs_target = false;
    torch::Tensor operator()(const auto& outputs, const auto&, const auto&) const {
        return outputs.square().mean() / 2;
    }
    std::string name() const { return "half_square"; }
};
/// Has no gradient.
struct Nothing {
    static constexpr bool needs_teacher = false, needs_target = false;
    torch::Tensor operator()(const auto& outputs, const auto&, const auto&) const {
        return outputs.sum() * 0;
    }
    std::string name() const { return "nothing"; }
};

}  // namespace

TEST_CASE("the period ends after the epoch in which the measure falls below its fraction of the largest") {
    // Rises to 4; 1.9 is the first below 2, in epoch 4.
    CHECK(weights({.factor = 0.5}, {1, 2, 4, 3, 1.9, 1, 1}, 4) ==
          std::vector<double>{100, 100, 100, 100, 100, 50, 25});
    CHECK(weights({.initial = 3, .factor = 0}, {1, 2, 4, 3, 1.9, 1}, 4) ==
          std::vector<double>{3, 3, 3, 3, 3, 0});
    // Exactly the fraction is not below it.
    CHECK(weights({.factor = 0.5}, {4, 2, 2, 2}, std::nullopt) == std::vector<double>{100, 100, 100, 100});
    // A later, larger peak does not reopen it.
    CHECK(weights({.factor = 0.5}, {4, 1, 40, 40}, 1) == std::vector<double>{100, 100, 50, 25});
    CHECK(weights({.factor = 0.5, .fall = 0.2}, {4, 1, 0.7, 1}, 2) == std::vector<double>{100, 100, 100, 50});
}

TEST_CASE("patience, smoothing and lengths of the critical period") {
    // Below 2 in the epochs 1, 3, 4: two in a row only in 4.
    CHECK(weights({.factor = 0.5, .patience = 2}, {4, 1, 3, 1, 1, 1}, 4) ==
          std::vector<double>{100, 100, 100, 100, 100, 50});
    // Smoothed by halves: 4, 2.5, 1.75.
    CHECK(weights({.factor = 0.5, .smoothing = 0.5}, {4, 1, 1, 1}, 2) ==
          std::vector<double>{100, 100, 100, 50});
    CHECK(weights({.factor = 0.5, .least = 3}, {4, 1, 1, 1}, 2) == std::vector<double>{100, 100, 100, 50});
    CHECK(weights({.factor = 0.5, .most = 2}, {4, 4, 4, 4}, 1) == std::vector<double>{100, 100, 50, 25});
    // Non-finite measures count as missing.
    CHECK(weights({.factor = 0.5}, {4, NAN, INFINITY, 1, 1}, 3) ==
          std::vector<double>{100, 100, 100, 100, 50});
    // Nothing measured at all: it continues.
    CHECK(weights({.factor = 0.5}, {NAN, NAN, NAN}, std::nullopt) == std::vector<double>{100, 100, 100});
}

TEST_CASE("the period of a network with known gradient ends where computed") {
    // At a learning rate of 0.1 the gradient is 0.9^n in step n: 0.9^7 = 0.478 is the first below half.
    const std::vector<torch::Tensor> batch{torch::ones({1, 1})};
    for (const std::int64_t steps : {1, 2}) {
        Scalar student;
        AdaptiveCriticalPeriod period;
        retort::Trainer trainer{student, retort::NoTeacher{}, retort::Knowledge{HalfSquare{}, Nothing{}},
                                retort::Schedule{1.0, period}, retort::Sgd{.learning_rate = 0.1}};
        const std::vector<torch::Tensor> batches(static_cast<std::size_t>(steps), batch[0]);
        const auto& history = trainer.fit(batches, {.epochs = 10}, period);
        // With two steps an epoch the mean is 0.95 * 0.81^k, and 0.81^4 = 0.43 the first below half.
        const std::int64_t last = steps == 1 ? 7 : 4;
        CHECK(period.last_epoch() == last);
        for (std::int64_t epoch = 0; epoch < 10; ++epoch) {
            const auto row = static_cast<std::size_t>(epoch);
            const double expected = steps == 1 ? std::pow(0.9, epoch) : 0.95 * std::pow(0.81, epoch);
            CHECK(history.at(row, "critical_period_measure") == Approx(expected).epsilon(1e-5));
            CHECK(history.at(row, "weight_nothing") ==
                  Approx(epoch <= last ? 100.0 : 100.0 * std::pow(0.7, epoch - last)));
        }
    }
}

TEST_CASE("a period that is not passed to fit is an error, and options are checked") {
    Scalar student;
    const AdaptiveCriticalPeriod period;
    retort::Trainer trainer{student, retort::NoTeacher{}, retort::Knowledge{HalfSquare{}, Nothing{}},
                            retort::Schedule{1.0, period}, retort::Sgd{.learning_rate = 0.1}};
    CHECK(holds(words_of<retort::ConfigError>(
                    [&] { trainer.fit(std::vector<torch::Tensor>{torch::ones({1, 1})}, {.epochs = 2}); }),
                "AdaptiveCriticalPeriod: expected a measure of each epoch before epoch 1, found 0",
                "among the callbacks of fit"));
    const auto refusal = [](AdaptiveCriticalPeriodOptions options) {
        return words_of<retort::ConfigError>([&] { AdaptiveCriticalPeriod{options}; });
    };
    CHECK(holds(refusal({.initial = NAN}), "expected a finite initial value"));
    CHECK(holds(refusal({.factor = 1}), "expected a factor in [0, 1), found 1"));
    CHECK(holds(refusal({.fall = 0}), "expected a fall in (0, 1), found 0"));
    CHECK(holds(refusal({.fall = 1}), "expected a fall in (0, 1), found 1"));
    CHECK(holds(refusal({.smoothing = 1}), "expected a smoothing in [0, 1), found 1"));
    CHECK(holds(refusal({.patience = 0}), "expected a patience of at least 1, found 0"));
    CHECK(holds(refusal({.least = 0}), "expected a least length of at least 1, found 0"));
    CHECK(holds(refusal({.least = 3, .most = 2}), "expected a most length of at least 3, found 2"));
    CHECK(holds(refusal({.most = -1}), "expected a most length of at least 1, found -1"));
    CHECK(holds(words_of<retort::ConfigError>([] { AdaptiveCriticalPeriod({}, nullptr); }),
                "expected a measure, found an empty function"));
}

}  // namespace adaptive_critical_period_test
