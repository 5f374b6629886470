// SPDX-License-Identifier: BSL-1.0
/// \file
/// The student of an earlier epoch as its teacher, and when it is taken.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace snapshot_test {

using namespace retort_test;
using Catch::Contains;
using retort::ConfigError;
using retort::FitContext;
using retort::Snapshot;
using retort::TakeSnapshot;
using retort::TakeSnapshotOptions;

namespace {
const retort::Knowledge knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 2}};
const retort::Schedule weights{0.5, 0.5};
const retort::Sgd sgd{.learning_rate = 0.1, .momentum = 0.9};

struct Crash : std::runtime_error {
    Crash() : std::runtime_error("crash") {}
};
/// Fills a column with given values, epoch by epoch.
struct Measure {
    std::vector<double> values;
    static void on_fit_begin(FitContext& context) { context.claim("score"); }
    void on_epoch_end(FitContext& context) {
        const double value = values.at(static_cast<std::size_t>(context.progress.epoch));
        if (!std::isnan(value)) context.history.set("score", value);
    }
};
}  // namespace

TEST_CASE("a snapshot is the earlier student: parameters, buffers, in evaluation mode") {
    torch::manual_seed(1);
    ConvNet student(4, 0.5), past(4, 0.5);
    Snapshot snapshot{past, student};
    CHECK(same(state(*past), state(*student)));
    CHECK(snapshot.taken() == 0);
    auto copy = snapshot;  // stored like in a trainer
    const auto first = state(*student);
    const auto x = torch::rand({5, 1, 8, 8});
    {
        const torch::NoGradGuard no_grad;
        for (auto& each : student->parameters()) each.add_(1);
        student->forward(x);  // changes the statistics
    }
    CHECK(same(state(*past), first));
    snapshot.take();
    CHECK(same(state(*past), state(*student)));
    CHECK(copy.taken() == 1);
    const auto outputs = copy(x);
    CHECK_FALSE(outputs.logits.requires_grad());
    CHECK(same(outputs.logits, retort::Frozen{student}(x).logits));
    CHECK(same(outputs.logits, copy(x).logits));  // no dropout
    CHECK(same(state(*past), state(*student)));
    CHECK(past->is_training());
    CHECK(snapshot.modules() == std::vector<torch::nn::Module*>{past.get()});
    CHECK(&snapshot.student() == student.get());
}

TEST_CASE("a network of another architecture is refused, by `Snapshot` and `MovingAverage`") {
    Perceptron student, wide(9);
    CHECK_THROWS_WITH(
        (Snapshot{wide, student}),
        Contains("Snapshot: expected a network of the student's architecture; at \"first.weight\" "
                 "expected [8, 4] of float, found [9, 4] of float"));
    CHECK_THROWS_WITH((Snapshot{student, student}),
                      Contains("expected two tensors, found one that both share"));
    ConvNet other;
    CHECK_THROWS_AS((Snapshot{other, student}), ConfigError);
    using torch::nn::BatchNorm1d;
    using torch::nn::BatchNorm1dOptions;
    const auto norm = [](bool statistics) {
        return torch::nn::Sequential(BatchNorm1d(BatchNorm1dOptions(2).track_running_stats(statistics)));
    };
    auto with = norm(true), without = norm(false), too = norm(false);
    const auto words = [&](auto&& make) { return words_of<ConfigError>(make); };
    CHECK(holds(words([&] { Snapshot{without, with}; }),
                "\"0.running_mean\" expected it in both, found it only in the student"));
    CHECK(holds(words([&] { Snapshot{with, without}; }),
                "\"0.running_mean\" expected it in both, found it only in the snapshot"));
    CHECK(holds(words([&] { retort::MovingAverage{with, without}; }),
                "MovingAverage: ", "found it only in the average"));
    Snapshot snapshot{too, without};
    CHECK_NOTHROW(snapshot.take());
}

TEST_CASE("the student of the last epoch, or of every third, teaches: a hand-written loop, bit for bit") {
    const auto batches = vectors(3);
    for (const std::int64_t every : {1, 3}) {
        torch::manual_seed(1);
        Perceptron student, past, by_hand, teacher;
        copy_state(*student, *by_hand);
        copy_state(*student, *teacher);
        Snapshot snapshot{past, student};
        retort::Trainer trainer{student, snapshot, knowledge, weights, sgd};
        trainer.fit(batches, {.epochs = 7}, TakeSnapshot{snapshot, {.every = every}});
        CHECK(snapshot.taken() == (every == 1 ? 7 : 2));

        torch::optim::SGD optimizer(by_hand->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
        for (std::int64_t epoch = 0; epoch < 7; ++epoch) {
            for (const auto& [input, target] : batches) {
                const auto given = [&, &images = input] {
                    const torch::NoGradGuard no_grad;
                    return teacher->forward(images);
                }();
                const auto logits = by_hand->forward(input);
                optimizer.zero_grad();
                (torch::nn::functional::cross_entropy(logits, target) * 0.5 +
                 retort::functional::soft_target(logits, given, {.temperature = 2}) * 0.5)
                    .backward();
                optimizer.step();
            }
            if ((epoch + 1) % every == 0) copy_state(*by_hand, *teacher);
        }
        CHECK(same(state(*student), state(*by_hand)));
        CHECK(same(state(*past), state(*teacher)));
        for (const auto& parameter : past->parameters()) CHECK_FALSE(parameter.grad().defined());
    }
}

TEST_CASE("the best epoch so far teaches, by any column, largest or smallest") {
    const double none = std::nan("");
    const auto taken = [&](std::vector<double> values, retort::Goal goal) {
        torch::manual_seed(1);
        Perceptron student, past;
        Snapshot snapshot{past, student};
        retort::Trainer trainer{student, snapshot, knowledge, weights, sgd};
        TakeSnapshot best{snapshot, {.column = "score", .goal = goal}};
        const auto epochs = static_cast<std::int64_t>(values.size());
        std::vector<std::int64_t> result;
        std::int64_t before = 0;
        trainer.fit(vectors(2), {.epochs = epochs}, Measure{std::move(values)}, best,
                    retort::on_epoch_end([&](FitContext& context) {
                        if (snapshot.taken() == before) return;
                        before = snapshot.taken();
                        result.push_back(context.progress.epoch);
                        CHECK(same(state(*past), state(*student)));
                    }));
        CHECK(best.best_epoch() == result.back());
        return result;
    };
    using Epochs = std::vector<std::int64_t>;
    CHECK(taken({0.2, 0.1, none, 0.2, 0.3, 0.25}, retort::Goal::maximize) == Epochs{0, 4});
    CHECK(taken({none, 3, 4, 2, 2, 1}, retort::Goal::minimize) == Epochs{1, 3, 5});
}

TEST_CASE("within WeightAverage::during the average is taken") {
    torch::manual_seed(1);
    Perceptron student, past, averaged;
    Snapshot snapshot{past, student};
    retort::Trainer trainer{student, snapshot, knowledge, weights, sgd};
    retort::WeightAverage average{{.decay = 0.5}};
    trainer.fit(vectors(2), {.epochs = 2}, average, average.during(TakeSnapshot{snapshot}));
    average.copy_to(*averaged);
    CHECK(same(state(*past), state(*averaged)));
    CHECK_FALSE(same(state(*past), state(*student)));
}

TEST_CASE("an invalid snapshot is refused before the first step") {
    Perceptron student, past, other, others_past;
    Snapshot snapshot{past, student};
    const auto options = [&](TakeSnapshotOptions given) {
        return words_of<ConfigError>([&] { TakeSnapshot(snapshot, given); });
    };
    CHECK(options({.every = 0}) == "TakeSnapshot: expected an interval of at least 1 epoch, found 0");
    CHECK(options({.every = 2, .column = "loss"}) ==
          "TakeSnapshot: expected either a number of epochs or a column, found 2 and \"loss\"");
    const auto fit = [&](auto teacher, auto callback) {
        const auto before = state(*student);
        retort::Trainer trainer{student, teacher, knowledge, weights, sgd};
        const auto words = words_of<ConfigError>([&] { trainer.fit(vectors(1), {.epochs = 1}, callback); });
        CHECK(same(before, state(*student)));
        return words;
    };
    CHECK(holds(fit(snapshot, TakeSnapshot{snapshot, {.column = "validation_accuracy"}}),
                "TakeSnapshot: expected a column \"validation_accuracy\" in the history"));
    const Snapshot foreign{others_past, other};
    CHECK(fit(snapshot, TakeSnapshot{foreign}) ==
          "TakeSnapshot: expected the snapshot among the teachers of this run, found others");
    CHECK(fit(foreign, TakeSnapshot{foreign}) ==
          "TakeSnapshot: expected a snapshot of the network that is trained, found one of another network");
}

TEST_CASE("law 9: with snapshots, alone and in an ensemble, interrupted in any step") {
    const auto process = [](const std::filesystem::path& directory, std::uint64_t seed, std::int64_t crash_in,
                            bool best) {
        torch::manual_seed(3);
        ConvNet fixed(4);
        torch::manual_seed(seed);
        ConvNet student(4, 0.3), past(4, 0.3);
        const Snapshot snapshot{past, student};
        retort::Trainer trainer{student, retort::Ensemble{snapshot, retort::Frozen{fixed}}, knowledge,
                                weights, sgd};
        TakeSnapshot take{snapshot,
                          best ? TakeSnapshotOptions{.column = "score"} : TakeSnapshotOptions{.every = 2}};
        trainer.fit(
            images(2), {.epochs = 4}, Measure{{0.1, 0.3, 0.2, 0.4}}, take,
            retort::on_gradients([&](FitContext&) {
                if (crash_in-- == 0) throw Crash();
            }),
            retort::Checkpoint{directory, {.every_steps = 1, .stream = std::fopen("/dev/null", "w")}});
        CHECK(snapshot.taken() == (best ? 3 : 2));
        CHECK((!best || take.best_epoch() == 3));
        auto result = state(*student);
        for (const auto& each : state(*past)) result.push_back(each);
        return result;
    };
    for (const bool best : {false, true}) {
        const TemporaryDirectory apart;
        const auto undisturbed = process(apart.path(), 1, 1000, best);
        for (const std::int64_t step :
             best ? std::vector<std::int64_t>{2, 4, 5} : std::vector<std::int64_t>{1, 2, 3, 4, 5, 7}) {
            INFO("step " << step << (best ? ", best" : ", last"));
            const TemporaryDirectory directory;
            CHECK_THROWS_AS(process(directory.path(), 1, step, best), Crash);
            CHECK(same(process(directory.path(), 2, 1000, best), undisturbed));
        }
    }
}

}  // namespace snapshot_test
