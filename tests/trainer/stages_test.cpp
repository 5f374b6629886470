// SPDX-License-Identifier: BSL-1.0
/// \file
/// Training runs in sequence, killed and resumed.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort/cohort.hpp>
#include <retort/cohort/preset/mutual_learning.hpp>
#include <retort/knowledge/flow/information_flow.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

#include <csignal>

namespace stages_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Frozen;
using retort::InformationFlow;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::Stages;
using retort::tap;
using retort::Trainer;

namespace {

struct Crash : std::runtime_error {
    Crash() : std::runtime_error("crash") {}
};
/// Calls a function in one of the steps of all stages, which it counts.
struct InStep {
    std::int64_t* steps;
    std::int64_t at;
    std::function<void()> what;
    void on_gradients(retort::FitContext&) {
        if ((*steps)++ == at) what();
    }
};
std::FILE* quiet_file() {
    static std::FILE* const file = std::fopen("/dev/null", "w");
    return file;
}
retort::CheckpointOptions often() { return {.every_epochs = 1, .every_steps = 1, .stream = quiet_file()}; }

/// Teacher, auxiliary, and a student with an adaptive critical period and an optimizer rebuilt each epoch; all
/// with dropout and batch norm. 3 + 4 + 12 steps.
struct Outcome {
    std::vector<torch::Tensor> student;
    std::vector<double> weights;
    std::int64_t steps = 0;
};
Outcome three_stages(Stages stages, std::int64_t at = -1, const std::function<void()>& what = {}) {
    Outcome result;
    InStep watch{&result.steps, at, what};
    const auto adam = retort::FromTorch<torch::optim::Adam>{torch::optim::AdamOptions(1e-2)};
    const auto batches = images(3, 8);
    torch::manual_seed(5);
    ConvNet teacher(8, 0.2), wide(4, 0.2), student(2, 0.2);
    Trainer classes{teacher, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, adam};
    stages.fit("teacher", classes, batches, {.epochs = 1}, watch);
    retort::Auxiliary auxiliary{wide};
    auxiliary.learn([&](ConvNet& network) {
        Trainer trainer{network, Frozen{teacher},
                        Knowledge{InformationFlow{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>}},
                        Schedule{1.0}, retort::Sgd{.learning_rate = 0.1, .momentum = 0.9}};
        stages.fit("auxiliary", trainer, images(2, 8, 3), {.epochs = 2}, watch);
    });
    retort::AdaptiveCriticalPeriod period{{.fall = 0.9}};
    Trainer trainer{student, auxiliary,
                    Knowledge{InformationFlow{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>},
                              InformationFlow{tap<&ConvOutputs::early>, tap<&ConvOutputs::early>}},
                    Schedule{1.0, period}, retort::RebuiltEachEpoch{adam}};
    const auto& history = stages.fit("student", trainer, batches, {.epochs = 4}, watch, period);
    result.student = state(*student);
    for (std::size_t row = 0; row < history.size(); ++row) {
        result.weights.push_back(history.at(row, history.columns()[6]));
        result.weights.push_back(history.at(row, "critical_period_measure"));
    }
    return result;
}

}  // namespace

TEST_CASE("stages are training runs in sequence") {
    const auto run = [](auto&& fit) {
        torch::manual_seed(1);
        ConvNet teacher(4), student(2, 0.3);
        Trainer hints{student, Frozen{teacher},
                      Knowledge{InformationFlow{tap<&ConvOutputs::early>, tap<&ConvOutputs::early>}},
                      Schedule{1.0}, retort::Sgd{.learning_rate = 0.5}};
        Trainer classes{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                        retort::WithLearningRate{retort::Sgd{.learning_rate = 0.1, .momentum = 0.9},
                                                 retort::Step{.factor = 0.5, .epochs = 1}}};
        fit("hints", hints, 2);
        fit("classes", classes, 3);
        return state(*student);
    };
    const TemporaryDirectory folder;
    const auto batches = images(2);
    Stages without, with{folder / "run", often()};
    const auto expected = run([&](const std::string&, auto& trainer, std::int64_t epochs) {
        trainer.fit(batches, {.epochs = epochs});
    });
    CHECK(same(run([&](const std::string& name, auto& trainer, std::int64_t epochs) {
                   const auto& history = without.fit(name, trainer, batches, {.epochs = epochs});
                   CHECK(history.size() == static_cast<std::size_t>(epochs));
               }),
               expected));
    CHECK(same(run([&](const std::string& name, auto& trainer, std::int64_t epochs) {
                   with.fit(name, trainer, batches, {.epochs = epochs});
               }),
               expected));
    CHECK(without.names() == std::vector<std::string>{"hints", "classes"});
    CHECK(std::filesystem::is_directory(folder / "run/hints"));
    CHECK(std::filesystem::is_directory(folder / "run/classes"));
}

TEST_CASE("stages killed in any step give the results of an undisturbed run") {
    const Outcome expected = three_stages(Stages{});
    REQUIRE(expected.steps == 19);
    for (const double each : expected.weights) CHECK(std::isfinite(each));
    // Teacher, auxiliary at the end of an epoch and within one, the student's first step, within an epoch, the last.
    for (const std::int64_t at : {1, 5, 6, 7, 11, 14, 18}) {
        INFO("killed in step " << at);
        const TemporaryDirectory folder;
        CHECK_THROWS_AS(three_stages(Stages{folder / "run", often()}, at, [] { throw Crash(); }), Crash);
        const Outcome resumed = three_stages(Stages{folder / "run", often()});
        CHECK(same(resumed.student, expected.student));
        CHECK(resumed.weights == expected.weights);
        CHECK(resumed.steps == expected.steps - at);
        const Outcome again = three_stages(Stages{folder / "run", often()});
        CHECK(again.steps == 0);
        CHECK(same(again.student, expected.student));
        CHECK(again.weights == expected.weights);
    }
}

TEST_CASE("a cohort along a graph is a stage like a trainer") {
    std::int64_t steps = 0;
    const auto train = [&](Stages stages, std::int64_t at = -1) {
        steps = 0;
        torch::manual_seed(5);
        ConvNet one(3, 0.2), two(2, 0.2);
        const retort::Sgd sgd{.learning_rate = 0.1, .momentum = 0.9};
        retort::Cohort cohort{retort::Learner{one, sgd}, retort::Learner{two, sgd}};
        auto run = cohort.along(retort::mutual_learning<2>());
        const auto& history =
            stages.fit("peers", run, images(3, 8), {.epochs = 2}, InStep{&steps, at, [] { throw Crash(); }});
        CHECK(history.size() == 2);
        return state(cohort.module());
    };
    const auto expected = train(Stages{});
    REQUIRE(steps == 6);
    const TemporaryDirectory folder;
    CHECK_THROWS_AS(train(Stages{folder / "run", often()}, 4), Crash);
    CHECK(same(train(Stages{folder / "run", often()}), expected));
    CHECK(steps == 2);
}

TEST_CASE("a signal ends a stage, and no other starts") {
    const Outcome expected = three_stages(Stages{});
    const TemporaryDirectory folder;
    const auto words = words_of<retort::Interrupted>(
        [&] { three_stages(Stages{folder / "run", often()}, 5, [] { std::raise(SIGTERM); }); });
    CHECK(holds(words, "stage auxiliary: interrupted in epoch", "rerun the same command to resume"));
    CHECK_FALSE(std::filesystem::exists(folder / "run/student"));
    retort::clear_interruption();
    CHECK(same(three_stages(Stages{folder / "run", often()}).student, expected.student));
}

TEST_CASE("stages need distinct names that are valid folder names") {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, retort::Sgd{}};
    Stages stages;
    const auto refusal = [&](const std::string& name) {
        return words_of<retort::ConfigError>([&] { stages.fit(name, trainer, vectors(1), {.epochs = 9}); });
    };
    for (const char* name : {"", "..", ".x", "a/b", "a b", "\xc3\xa4"}) {
        CHECK(holds(refusal(name), "Stages: expected a stage name of letters, digits, _, - and ."));
    }
    CHECK(trainer.progress().epoch == 0);
    stages.fit("a-1_b.c", trainer, vectors(1), {.epochs = 1});
    CHECK(holds(refusal("a-1_b.c"), "expected stages with different names, found \"a-1_b.c\" twice"));
    CHECK(holds(words_of<retort::ConfigError>([] { Stages{""}; }), "Stages: expected a folder"));
}

}  // namespace stages_test
