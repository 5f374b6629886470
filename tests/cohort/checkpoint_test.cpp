// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cohorts that are saved and resumed manually: law 9 for several learners, and errors.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/trainer.hpp>

namespace checkpoint_test {

using namespace retort_test;
using retort::CheckpointError;
using retort::Cohort;
using retort::CrossEntropy;
using retort::edge;
using retort::label;
using retort::Learner;
using retort::Sgd;
using retort::SoftTarget;
using retort::tap;
using retort::TransferGraph;
namespace gate = retort::gate;

namespace {

const auto late = tap<&ConvOutputs::late>;
const Sgd sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 1e-3};

/// Three learners with dropout and batch norm: a learnable connector, gates with counters, a term that ends, a schedule
/// of the learning rate, another optimizer.
struct Three {
    explicit Three(std::uint64_t seed) {
        torch::manual_seed(seed);
        a = ConvNet(4, 0.3);
        b = ConvNet(5, 0.2);
        c = ConvNet(6);
    }
    static auto graph() {
        return TransferGraph{label<0>(),
                             label<1>(CrossEntropy{}, gate::PositiveLinear{.iterations = 20}),
                             label<2>(),
                             edge<1, 0>(SoftTarget{}, gate::Correct{}),
                             edge<2, 0>(retort::Hint{late, late, retort::Conv1x1{}}),
                             edge<0, 2>(SoftTarget{}, gate::Through{},
                                        retort::Phases{retort::Phase{1, 1.0}, retort::Phase{0, 0.0}})};
    }
    auto cohort() const {
        return Cohort{Learner{a, retort::WithLearningRate{sgd, retort::Cosine{.every = retort::Every::step}}},
                      Learner{b, sgd},
                      Learner{c, retort::FromTorch<torch::optim::Adam>{torch::optim::AdamOptions(0.01)}}};
    }
    ConvNet a{nullptr}, b{nullptr}, c{nullptr};
};

/// Everything in a file, and the history except wall-clock times.
template <retort::TrainingRun Run>
std::map<std::string, torch::Tensor> all_of(Run& run) {
    const TemporaryDirectory directory;
    run.save(directory / "state");
    std::map<std::string, torch::Tensor> result;
    for (const auto& item : retort::detail::read_state(directory / "state")) {
        if (!item.name.starts_with("history/")) result[item.name] = item.tensor;
    }
    std::vector<double> numbers;
    const retort::History& history = run.history();
    for (std::size_t row = 0; row < history.size(); ++row) {
        for (const std::string& column : history.columns()) {
            if (column != "seconds" && column != "samples_per_second")
                numbers.push_back(history.at(row, column));
        }
    }
    result["history"] = torch::tensor(numbers, torch::kDouble);
    return result;
}
void check_same(const std::map<std::string, torch::Tensor>& a,
                const std::map<std::string, torch::Tensor>& b) {
    CHECK(a.size() == b.size());
    for (const auto& [name, value] : a) {
        INFO(name);
        REQUIRE(b.count(name) == 1);
        CHECK(same(value, b.at(name)));
    }
}
auto stop_at(std::int64_t epoch, std::int64_t step) {
    return retort::on_step_end([=](retort::FitContext& context) {
        return context.progress.epoch != epoch || context.progress.step != step;
    });
}

}  // namespace

TEST_CASE("law 9: a cohort saved in the middle of an epoch resumes there, bit for bit") {
    const auto batches = images(4);
    Three whole(1);
    auto undisturbed = whole.cohort().along(Three::graph());
    undisturbed.fit(batches, {.epochs = 3, .report_every = 2});
    const auto expected = all_of(undisturbed);
    REQUIRE(expected.size() > 60);
    // Before the first step, in each epoch, at the last step of one, and at the end of the second.
    for (const auto& [epoch, step] : {std::pair(0, 1), std::pair(1, 2), std::pair(1, 4), std::pair(2, 3)}) {
        INFO("epoch " << epoch << ", step " << step);
        const TemporaryDirectory directory;
        {
            Three nets(1);
            auto first = nets.cohort().along(Three::graph());
            first.fit(batches, {.epochs = 3, .report_every = 2}, stop_at(epoch, step));
            CHECK(first.progress().step == step);
            first.save(directory / "state");
        }
        Three nets(2);
        auto second = nets.cohort().along(Three::graph());
        second.resume(directory / "state");
        CHECK(second.progress().epoch == epoch);
        CHECK(second.progress().step == step);
        torch::rand({50});  // random numbers drawn in between do not matter
        second.fit(batches, {.epochs = 3, .report_every = 2});
        check_same(all_of(second), expected);
    }
}

TEST_CASE("law 9: a cohort is saved and resumed in a custom loop, forwards and backwards") {
    const auto batches = images(4);
    const TemporaryDirectory directory;
    Three one(1), other(2);
    auto first = one.cohort().along(Three::graph()), second = other.cohort().along(Three::graph());
    for (auto* each : {&first, &second}) {  // for the schedules
        each->progress().epochs = 2;
        each->progress().steps_per_epoch = 2;
    }
    first.save(directory / "fresh");
    torch::manual_seed(3);
    for (std::size_t i = 0; i < 2; ++i) first.step(batches[i]);
    first.save(directory / "state");
    for (std::size_t i = 2; i < 4; ++i) first.step(batches[i]);
    const auto expected = all_of(first);

    second.resume(directory / "state");
    CHECK(second.optimizer(0) == nullptr);  // before the first batch the sizes of the connector are unknown
    second.save(directory / "again");
    CHECK(read_file(directory / "again") == read_file(directory / "state"));
    for (std::size_t i = 2; i < 4; ++i) second.step(batches[i]);
    check_same(all_of(second), expected);
    CHECK(second.iterations() == std::vector<std::int64_t>(6, 4));
    // Back again, with the parts built in the meantime.
    second.resume(directory / "state");
    for (std::size_t i = 2; i < 4; ++i) second.step(batches[i]);
    check_same(all_of(second), expected);

    CHECK(holds(words_of<CheckpointError>([&] { second.resume(directory / "fresh"); }),
                "before the first step"));
    check_same(all_of(second), expected);
}

TEST_CASE("a graph built at run time is resumed the same way") {
    const auto batches = vectors(4);
    const auto run = [&](bool interrupt) {
        const TemporaryDirectory directory;
        const auto make = [&](std::uint64_t seed) {
            torch::manual_seed(seed);
            std::vector<Learner<Perceptron>> learners;
            for (int i = 0; i < 3; ++i) learners.emplace_back(Perceptron(6 + i, 0.2), sgd);
            return Cohort{learners}.along(retort::mutual_learning<torch::Tensor, PairBatch>(3));
        };
        auto first = make(1);
        if (!interrupt) {
            first.fit(batches, {.epochs = 2});
            return all_of(first);
        }
        first.fit(batches, {.epochs = 2}, stop_at(1, 1));
        first.save(directory / "state");
        auto fresh = make(2);
        fresh.resume(directory / "state");
        CHECK(fresh.optimizer(0) != nullptr);  // nothing needs a batch
        fresh.fit(batches, {.epochs = 2});
        return all_of(fresh);
    };
    check_same(run(true), run(false));
}

TEST_CASE("a checkpoint of another cohort or graph is refused, and nothing is changed") {
    const TemporaryDirectory directory;
    const auto batches = vectors(2);
    torch::manual_seed(1);
    Perceptron a, b;
    Cohort cohort{Learner{a, sgd}, Learner{b, sgd}};
    TransferGraph graph{label<0>(), label<1>(), edge<1, 0>(SoftTarget{})};
    auto run = cohort.along(graph);
    run.step(batches[0]);
    run.save(directory / "state");
    const auto refused = [&](auto other) {
        const auto before = state(other.module());
        const auto words = words_of<CheckpointError>([&] { other.resume(directory / "state"); });
        CHECK(same(state(other.module()), before));
        CHECK(other.progress().step == 0);
        return words;
    };
    Perceptron c, d, wide(9);
    Cohort twins{Learner{c, sgd}, Learner{d, sgd}};
    TransferGraph gated{label<0>(), label<1>(), edge<1, 0>(SoftTarget{}, gate::Correct{})};
    CHECK(holds(refused(twins.along(gated)), "graph/edges: this run has \"",
                "1 to 0 by soft_target through correct", "was made with \"",
                "1 to 0 by soft_target through through"));
    Cohort other{Learner{c, sgd}, Learner{wide, sgd}};
    CHECK(holds(refused(other.along(graph)), "learner1/parameters/first.weight: expected Float [9, 4]"));
    TransferGraph same_edges{label<0>(), label<1>(), edge<1, 0>(SoftTarget{})};
    auto resumed = twins.along(same_edges);
    resumed.resume(directory / "state");
    CHECK(same(state(twins.module()), state(cohort.module())));
    CHECK(resumed.progress().step == 1);

    CHECK_THROWS_AS(run.save(directory / "nowhere" / "state"), retort::OutputError);
    CHECK(directory.names() == std::vector<std::string>{"state"});
    const std::string bytes = read_file(directory / "state");
    write_file(directory / "state", std::string_view(bytes).substr(0, bytes.size() / 2));
    CHECK(holds(words_of<CheckpointError>([&] { run.resume(directory / "state"); }), "truncated"));
}

TEST_CASE("a checkpoint holds its own run, and the networks as other runs of the cohort have trained them") {
    const TemporaryDirectory directory;
    const auto batches = vectors(4);
    TransferGraph graph{label<0>(), label<1>(), edge<1, 0>(SoftTarget{})};
    TransferGraph gated{label<0>(), label<1>(), edge<1, 0>(SoftTarget{}, gate::Correct{})};
    const auto train = [&](bool interrupt) {
        torch::manual_seed(1);
        Perceptron a, b;
        Cohort cohort{Learner{a, sgd}, Learner{b, sgd}};
        auto first = cohort.along(graph);
        first.step(batches[0]);
        auto second = cohort.along(gated);
        if (interrupt) {
            first.save(directory / "first");
            second.save(directory / "second");  // before its first step: the networks, and no optimizer
            torch::manual_seed(2);
            Perceptron c, d;
            Cohort other{Learner{c, sgd}, Learner{d, sgd}};
            auto again = other.along(gated);
            again.resume(directory / "second");
            CHECK(again.progress().step == 0);
            again.step(batches[1]);
            // Its networks are those after the second run's step; the optimizer is the first one's.
            auto back = other.along(graph);
            const auto after = state(other.module());
            back.resume(directory / "first");
            CHECK(back.optimizer(0) != nullptr);
            CHECK_FALSE(same(state(other.module()), after));
            again.save(directory / "other");
            return after;
        }
        second.step(batches[1]);
        return state(cohort.module());
    };
    CHECK(same(train(true), train(false)));
}

}  // namespace checkpoint_test
