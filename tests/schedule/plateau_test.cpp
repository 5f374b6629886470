// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that falls when a column no longer improves.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace plateau_test {

using namespace retort_test;
using retort::Goal;
using retort::Plateau;

namespace {
struct Context {
    retort::History history{};
};
/// The weights of the epochs after each value.
std::vector<double> weights(const retort::PlateauOptions& options, const std::vector<double>& values) {
    Plateau plateau{options};
    Context context;
    context.history.declare(options.column);
    plateau.on_fit_begin(context);
    std::vector<double> result;
    for (std::size_t i = 0; i < values.size(); ++i) {
        context.history.begin_row();
        if (!std::isnan(values[i])) context.history.set(options.column, values[i]);
        plateau.on_epoch_end(context);
        result.push_back(plateau.weight({.epoch = static_cast<std::int64_t>(i) + 1}));
    }
    return result;
}
using Values = std::vector<double>;
const double none = std::numeric_limits<double>::quiet_NaN();
}  // namespace

TEST_CASE("the weight falls after the epochs of patience") {
    // As torch.optim.lr_scheduler.ReduceLROnPlateau gives them (version 1.13.0).
    CHECK(weights({.factor = 0.5, .patience = 1}, {0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7, 0.7}) ==
          Values{1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25});
    CHECK(weights({.factor = 0.5, .patience = 0}, {0.5, 0.4, 0.4}) == Values{1, 0.5, 0.25});
    CHECK(weights({.goal = Goal::minimize, .factor = 0.5, .patience = 0}, {0.5, 0.4, 0.4, 0.3}) ==
          Values{1, 1, 0.5, 0.5});
    // A cooldown of 2: the two epochs after a reduction do not count.
    CHECK(weights({.factor = 0.5, .patience = 0, .cooldown = 2}, {1, 1, 1, 1, 1, 1, 1}) ==
          Values{1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25});
    // No lower than the minimum.
    CHECK(weights({.factor = 0.5, .patience = 0, .minimum = 0.3}, {1, 1, 1, 1}) == Values{1, 0.5, 0.3, 0.3});
    // Thresholds, relative and absolute; relative to a negative value.
    CHECK(weights({.factor = 0.5, .patience = 0, .threshold = 0.1}, {10, 10.9, 11.5}) == Values{1, 0.5, 0.5});
    CHECK(weights({.factor = 0.5, .patience = 0, .threshold = 0.5, .relative = false}, {10, 10.4, 10.6}) ==
          Values{1, 0.5, 0.5});
    CHECK(weights({.goal = Goal::minimize, .factor = 0.5, .patience = 0, .threshold = 0.1}, {10, 9.1, 8.9}) ==
          Values{1, 0.5, 0.5});
    // Epochs without a value do not count; an infinite one is no improvement.
    CHECK(weights({.factor = 0.5, .patience = 1}, {0.5, none, 0.5, none, 0.5, 0.6}) ==
          Values{1, 1, 1, 1, 0.5, 0.5});
    CHECK(weights({.goal = Goal::minimize, .factor = 0.5, .patience = 0}, {1, INFINITY}) == Values{1, 0.5});
}

TEST_CASE("a value that is NaN is no improvement, and the first finite one is") {
    Plateau plateau{{.factor = 0.5, .patience = 0}};
    Context context;
    context.history.declare("validation_accuracy");
    Values found;
    for (const double value : {none, 0.5, none, 0.4, 0.6}) {
        context.history.begin_row();
        context.history.set("validation_accuracy", value);
        plateau.on_epoch_end(context);
        found.push_back(plateau.weight({.epoch = static_cast<std::int64_t>(context.history.size())}));
    }
    CHECK(found == Values{0.5, 0.5, 0.25, 0.125, 0.125});
}

TEST_CASE("invalid options of a plateau, and epochs that it has not seen, are errors") {
    const auto words = [](const retort::PlateauOptions& options) {
        return words_of<retort::ConfigError>([&] { Plateau{options}; });
    };
    CHECK(words({.factor = 1.0}) == "Plateau: expected a factor in (0, 1), found 1");
    CHECK(words({.minimum = 2.0}) == "Plateau: expected a minimum in [0, 1], found 2");
    CHECK(words({.patience = -1}) == "Plateau: expected a patience of at least 0, found -1");
    CHECK(words({.cooldown = -1}) == "Plateau: expected a cooldown of at least 0, found -1");
    CHECK(words({.threshold = none}) == "Plateau: expected a threshold of at least 0, found nan");
    CHECK(holds(words_of<retort::ConfigError>([&] { Plateau{}.weight({.epoch = 1}); }),
                "is the plateau among the callbacks of fit?"));
    Context context;
    CHECK(holds(words_of<retort::ConfigError>([&] { Plateau{}.on_fit_begin(context); }),
                "expected a column \"validation_accuracy\" in the history"));
}

TEST_CASE("a plateau within a warm-up sets the learning rate, and resumes") {
    const auto batches = vectors(3);
    const auto run = [&](const Perceptron& net, std::int64_t stop, const std::filesystem::path& path) {
        Plateau plateau{{.column = "quality", .factor = 0.5, .patience = 0}};
        retort::Trainer trainer{
            net, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}}, retort::Schedule{1.0},
            retort::WithLearningRate{retort::Sgd{.learning_rate = 0.4},
                                     retort::WarmUp{plateau, {.epochs = 2, .every = retort::Every::epoch}}}};
        std::vector<double> rates;
        std::FILE* const silent = std::fopen("/dev/null", "w");
        // Improves up to epoch 2 and no more; the column exists before the plateau checks it.
        auto quality = retort::on_epoch_end([](retort::FitContext& context) {
            context.history.set("quality", std::min(2.0, context.history.last("epoch")));
        });
        auto declare =
            retort::on_fit_begin([](retort::FitContext& context) { context.history.declare("quality"); });
        auto note = retort::on_epoch_end([&](retort::FitContext& context) {
            rates.push_back(context.history.last("learning_rate"));
            return context.history.last("epoch") < static_cast<double>(stop);
        });
        if (path.empty()) {
            trainer.fit(batches, {.epochs = 6}, declare, quality, plateau, note);
        } else {
            // Stopped between two epochs, as by a signal: the saved run resumes.
            if (std::filesystem::exists(path)) trainer.resume(path);
            trainer.fit(batches, {.epochs = 6}, declare, quality, plateau, note,
                        retort::Checkpoint{path, {.stream = silent}});
        }
        std::fclose(silent);
        return rates;
    };
    torch::manual_seed(1);
    const Perceptron whole;
    const auto rates = run(whole, 9, {});
    REQUIRE(rates.size() == 6);
    const Values expected{0.0, 0.2, 0.4, 0.4, 0.2, 0.1};
    for (std::size_t i = 0; i < 6; ++i) CHECK(rates[i] == Approx(expected[i]));
    torch::manual_seed(1);
    const Perceptron parts;
    TemporaryDirectory directory;
    CHECK(run(parts, 4, directory / "run").size() == 5);
    torch::manual_seed(2);
    const Perceptron rest;
    CHECK(run(rest, 9, directory / "run").size() == 1);
    CHECK(same(whole->parameters(), rest->parameters()));
}

}  // namespace plateau_test
