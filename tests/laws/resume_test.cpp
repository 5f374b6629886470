// SPDX-License-Identifier: BSL-1.0
/// \file
/// Law 9: a run that is interrupted at any step and resumed gives the bits of an uninterrupted one.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/data/augment/compose.hpp>
#include <retort/data/augment/horizontal_flip.hpp>
#include <retort/data/augment/random_crop.hpp>
#include <retort/data/loader.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/relation/contrastive_representation.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace resume_test {

using namespace retort_test;
using retort::Checkpoint;
using retort::CrossEntropy;
using retort::Frozen;
using retort::Hint;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::tap;
using retort::Trainer;

namespace {
struct Crash : std::runtime_error {
    Crash() : std::runtime_error("crash") {}
};
/// Interrupts a run in a step, after its gradients, or at the end of an epoch, after its steps.
struct CrashDuring {
    std::int64_t step;
    bool with_epoch = false;
    void on_gradients(retort::FitContext&) {
        if (step-- == 0 && !with_epoch) throw Crash();
    }
    void on_epoch_end(retort::FitContext&) {
        if (step < 0 && with_epoch) throw Crash();
    }
};

/// The result of a run: all state by name, and the history without wall-clock times.
struct Outcome {
    std::map<std::string, torch::Tensor> state;
    std::vector<torch::Tensor> student;
    std::vector<double> history;
    std::vector<std::string> columns;
    std::int64_t best_epoch = -1;
};
template <class T>
Outcome outcome_of(T& trainer) {
    Outcome result;
    const TemporaryDirectory directory;
    trainer.save(directory / "state");
    for (const auto& item : retort::detail::read_state(directory / "state")) {
        if (!item.name.starts_with("history/")) result.state[item.name] = item.tensor;
    }
    result.student = state(trainer.student());
    const retort::History& history = trainer.history();
    result.columns = history.columns();
    for (std::size_t row = 0; row < history.size(); ++row) {
        for (const std::string& column : result.columns) {
            if (column != "seconds" && column != "samples_per_second")
                result.history.push_back(history.at(row, column));
        }
    }
    return result;
}
void check_same_results(const Outcome& a, const Outcome& b) {
    CHECK(same(a.student, b.student));
    CHECK(a.columns == b.columns);
    CHECK(a.history.size() == b.history.size());
    const auto bits = [](const std::vector<double>& values) { return torch::tensor(values, torch::kDouble); };
    CHECK(same(bits(a.history), bits(b.history)));
    CHECK(a.best_epoch == b.best_epoch);
}
void check_same(const Outcome& a, const Outcome& b) {
    check_same_results(a, b);
    CHECK(a.state.size() == b.state.size());
    for (const auto& [name, value] : a.state) {
        INFO(name);
        REQUIRE(b.state.count(name) == 1);
        CHECK(same(value, b.state.at(name)));
    }
}

/// One process of a run with everything that can be resumed: dropout, batch norm, augmentation, a learnable connector
/// whose term ends, a memory bank, schedules of weights and of the learning rate, early stopping, the best model.
/// \param seed another process has other random numbers before it resumes the run
template <class Optimizer>
Outcome process(const std::filesystem::path& directory, std::uint64_t seed, std::int64_t crash_in,
                const Optimizer& optimizer, bool with_epoch = false) {
    torch::manual_seed(5);
    ConvNet teacher(6);
    auto generator = at::detail::createCPUGenerator(5);
    const auto inputs = torch::randn({22, 1, 8, 8}, generator);
    const auto dataset =
        retort::data::in_memory(inputs, torch::randint(0, 3, {22}, generator, torch::kLong), 3);
    const retort::data::Loader batches{
        dataset,
        {.batch_size = 8, .seed = 3},
        retort::data::Compose{retort::data::RandomCrop{.padding = 1}, retort::data::HorizontalFlip{}}};
    torch::manual_seed(seed);
    ConvNet student(4, 0.3);
    Trainer trainer{
        student, Frozen{teacher},
        Knowledge{CrossEntropy{}, retort::SoftTarget{},
                  Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}},
                  retort::ContrastiveRepresentation{tap<&ConvOutputs::late>,
                                                    tap<&ConvOutputs::late>,
                                                    retort::BankNegatives{.samples = 22, .negatives = 7},
                                                    {.size = 5}}},
        Schedule{0.5, 0.5, retort::Phases{retort::Phase{1, 1.0}, retort::Phase{0, 0.0}},
                 retort::Linear{.initial = 0.3, .final = 0.1, .every = retort::Every::step}},
        retort::WithLearningRate{optimizer, retort::Cosine{.every = retort::Every::step}}};
    retort::EarlyStopping early({.patience = 2});
    retort::BestModel best;
    trainer.fit(batches, {.epochs = 4, .report_every = 2}, CrashDuring{crash_in, with_epoch},
                retort::Validation{batches}, retort::GradientClipping{.max_norm = 1.0}, early, best,
                Checkpoint{directory, {.every_steps = 1, .stream = std::fopen("/dev/null", "w")}});
    Outcome result = outcome_of(trainer);
    result.best_epoch = best.best_epoch();
    CHECK(early.best() == best.best());
    return result;
}
/// A run that starts a new process for every entry of `crashes`, and one more that is not interrupted.
template <class Optimizer>
Outcome run(const std::vector<std::int64_t>& crashes, const Optimizer& optimizer, bool with_epoch = false) {
    const TemporaryDirectory directory;
    std::uint64_t seed = 1;
    for (const std::int64_t step : crashes) {
        CHECK_THROWS_AS(process(directory.path(), seed++, step, optimizer, with_epoch), Crash);
        if (step == 0 && seed == 2) seed = 1;  // nothing was saved: the same command starts over
    }
    return process(directory.path(), seed, 1000, optimizer);
}
}  // namespace

TEST_CASE("law 9: interrupted in any step, with momentum") {
    const retort::Sgd sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 1e-3};
    const Outcome undisturbed = run({}, sgd);
    constexpr std::int64_t steps = 9;  // then early stopping ends the run
    REQUIRE(undisturbed.history.size() / undisturbed.columns.size() < 4);
    for (std::int64_t step = 0; step < steps; ++step) {
        INFO("step " << step);
        check_same(run({step}, sgd), undisturbed);
    }
    check_same(run({1, 1, 2, 1, 3}, sgd), undisturbed);
    for (const std::int64_t step : {0, 3, 6}) {
        INFO("at the end of the epoch of step " << step);
        check_same(run({step}, sgd, true), undisturbed);
        check_same(run({step, -1, -1}, sgd, true), undisturbed);
    }
}

TEST_CASE("law 9: a completed run restores its results") {
    const TemporaryDirectory directory;
    const retort::Sgd sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 1e-3};
    const Outcome first = process(directory.path(), 1, 1000, sgd);
    for (const std::uint64_t seed : {2U, 3U}) {
        check_same_results(process(directory.path(), seed, 0, sgd), first);  // it takes no step
    }
}

TEST_CASE("law 9: interrupted, with an optimizer of LibTorch") {
    const retort::FromTorch<torch::optim::AdamW> adam{torch::optim::AdamWOptions(0.01)};
    const Outcome undisturbed = run({}, adam);
    for (const std::int64_t step : {1, 2, 3, 7}) check_same(run({step}, adam), undisturbed);
}

TEST_CASE("law 9: an order drawn from the global generator") {
    const auto data = vectors(7, 3);
    const auto shuffled = [&](std::int64_t) {
        const auto order = torch::randperm(7);
        std::vector<PairBatch> batches;
        for (std::int64_t i = 0; i < 7; ++i)
            batches.push_back(data[static_cast<std::size_t>(order[i].item<std::int64_t>())]);
        return batches;
    };
    const auto one_process = [&](const std::filesystem::path& directory, std::uint64_t seed,
                                 std::int64_t crash_in) {
        torch::manual_seed(seed);
        Perceptron student(8, 0.4);
        Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                        retort::Sgd{.learning_rate = 0.1, .momentum = 0.9}};
        trainer.fit(shuffled, {.epochs = 2}, CrashDuring{crash_in},
                    Checkpoint{directory, {.every_steps = 2, .stream = std::fopen("/dev/null", "w")}});
        return outcome_of(trainer);
    };
    const TemporaryDirectory apart;
    const Outcome undisturbed = one_process(apart.path(), 1, 1000);
    for (std::int64_t step = 2; step < 14; ++step) {
        const TemporaryDirectory directory;
        CHECK_THROWS_AS(one_process(directory.path(), 1, step), Crash);
        check_same(one_process(directory.path(), 2, 1000), undisturbed);
    }
}

TEST_CASE("law 9: a run that a callback stops between two steps resumes where it was") {
    const auto batches = vectors(5);
    const auto train = [&](bool stop) {
        torch::manual_seed(1);
        Perceptron student(8, 0.4);
        Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                        retort::Sgd{.learning_rate = 0.1, .momentum = 0.9}};
        if (stop) {
            for (const std::int64_t at : {2, 3, 5}) {
                trainer.fit(batches, {.epochs = 3}, retort::on_step_end([&](retort::FitContext& context) {
                                return context.progress.step != at;
                            }));
                CHECK(trainer.progress().step == at);
                CHECK(trainer.history().size() == 1);
                CHECK(trainer.history().last("samples") == 6 * static_cast<double>(at));
            }
        }
        trainer.fit(batches, {.epochs = 3});
        return outcome_of(trainer);
    };
    check_same(train(true), train(false));
}

}  // namespace resume_test
