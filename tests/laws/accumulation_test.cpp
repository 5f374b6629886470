// SPDX-License-Identifier: BSL-1.0
/// \file
/// A step of several batches is the step of the large batch, up to rounding: gradients, schedules, progress, history;
/// and a run of such steps resumes.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/data.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace accumulation_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Frozen;
using retort::Knowledge;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::Trainer;

namespace {
using Batches = std::vector<PairBatch>;
Batches doubles(std::int64_t batches, std::int64_t samples) {
    Batches result = vectors(batches, samples);
    for (auto& [input, target] : result) input = input.to(torch::kFloat64);
    return result;
}
/// The samples of all batches, split differently.
Batches cut(const Batches& batches, const std::vector<std::int64_t>& sizes) {
    std::vector<torch::Tensor> inputs, targets;
    for (const auto& [input, target] : batches) {
        inputs.push_back(input);
        targets.push_back(target);
    }
    const auto all = torch::cat(inputs), classes = torch::cat(targets);
    Batches result;
    std::int64_t begin = 0;
    for (const std::int64_t size : sizes) {
        result.emplace_back(all.slice(0, begin, begin + size), classes.slice(0, begin, begin + size));
        begin += size;
    }
    REQUIRE(begin == all.size(0));
    return result;
}
Perceptron net(std::uint64_t seed) {
    torch::manual_seed(seed);
    Perceptron result;
    result->to(torch::kFloat64);
    return result;
}
auto trainer_of(Perceptron student) {
    return Trainer{std::move(student), Frozen{net(9)},
                   Knowledge{CrossEntropy{}, SoftTarget{.temperature = 4.0}},
                   Schedule{0.3, retort::Linear{.initial = 0.9, .final = 0.1, .every = retort::Every::step}},
                   retort::WithLearningRate{Sgd{.learning_rate = 0.1, .momentum = 0.9},
                                            retort::Cosine{.every = retort::Every::step}}};
}
}  // namespace

TEST_CASE("accumulated batches make the step of the large batch") {
    const Batches large = [] {
        Batches result = doubles(2, 12);
        result.push_back(doubles(3, 8)[2]);
        return result;
    }();
    struct Cut {
        std::vector<std::int64_t> sizes;
        std::int64_t accumulate;
    };
    for (const Cut& each : {Cut{{4, 4, 4, 4, 4, 4, 4, 4}, 3}, Cut{{5, 5, 2, 1, 7, 4, 6, 1, 1}, 3},
                            Cut{{6, 6, 6, 6, 3, 5}, 2}, Cut{{12, 12, 8}, 1}}) {
        const Perceptron one = net(1), other = net(1);
        auto whole = trainer_of(one), parts = trainer_of(other);
        std::vector<std::int64_t> steps;
        std::vector<double> norms, part_norms;
        const auto norm = [](std::vector<double>& to) {
            return retort::on_gradients([&to](retort::FitContext& context) {
                double sum = 0;
                for (const auto& p : context.parameters)
                    sum += p.grad().square().sum().template item<double>();
                to.push_back(sum);
            });
        };
        whole.fit(large, {.epochs = 3}, norm(norms));
        parts.fit(cut(large, each.sizes), {.epochs = 3, .report_every = 1, .accumulate = each.accumulate},
                  norm(part_norms), retort::on_report([&](retort::FitContext& context) {
                      steps.push_back(context.progress.step);
                  }));
        for (std::size_t i = 0; i < one->parameters().size(); ++i)
            CHECK(close(one->parameters()[i], other->parameters()[i], 1e-12, 1e-14));
        REQUIRE(norms.size() == 9);
        REQUIRE(part_norms.size() == 9);
        for (std::size_t i = 0; i < 9; ++i) CHECK(part_norms[i] == Approx(norms[i]).epsilon(1e-10));
        CHECK(steps == std::vector<std::int64_t>{1, 2, 3, 1, 2, 3, 1, 2, 3});
        CHECK(parts.progress().steps_per_epoch == 3);
        for (const char* column :
             {"loss", "accuracy", "samples", "cross_entropy", "soft_target", "learning_rate"}) {
            INFO(column);
            CHECK(parts.history().last(column) == Approx(whole.history().last(column)).epsilon(1e-12));
        }
    }
}

TEST_CASE("a cohort's accumulated batches make the step of the large batch") {
    const Batches large = doubles(3, 12);
    const auto run = [](const Perceptron& a, const Perceptron& b, const Batches& batches,
                        std::int64_t accumulate) {
        retort::Cohort cohort{retort::Learner{a, Sgd{.learning_rate = 0.1}},
                              retort::Learner{b, Sgd{.learning_rate = 0.2}}};
        retort::TransferGraph graph{retort::label<0>(), retort::label<1>(), retort::edge<1, 0>(SoftTarget{}),
                                    retort::edge<0, 1>(SoftTarget{})};
        cohort.along(graph).fit(batches, {.epochs = 2, .accumulate = accumulate});
    };
    const Perceptron a = net(1), b = net(2), c = net(1), d = net(2);
    run(a, b, large, 1);
    run(c, d, cut(large, {5, 7, 4, 8, 11, 1}), 2);
    for (std::size_t i = 0; i < a->parameters().size(); ++i) {
        CHECK(close(a->parameters()[i], c->parameters()[i], 1e-12, 1e-14));
        CHECK(close(b->parameters()[i], d->parameters()[i], 1e-12, 1e-14));
    }
}

TEST_CASE("an interrupted run of accumulated batches resumes bit for bit; with other steps it is refused") {
    const Batches batches = doubles(8, 4);
    const Perceptron whole = net(1);
    trainer_of(whole).fit(batches, {.epochs = 3, .accumulate = 3});
    std::FILE* const silent = std::fopen("/dev/null", "w");
    // The third step of an epoch has only two batches.
    for (const int stop : {5, 6}) {
        const Perceptron first = net(1), second = net(1);
        TemporaryDirectory directory;
        const auto checkpoint = [&] {
            return retort::Checkpoint{directory / "run", {.every_steps = 1, .stream = silent}};
        };
        int steps = 0;
        trainer_of(first).fit(batches, {.epochs = 3, .accumulate = 3}, checkpoint(),
                              retort::on_step_end([&](retort::FitContext&) { return ++steps < stop; }));
        CHECK_THROWS_WITH(
            trainer_of(net(1)).fit(batches, {.epochs = 3, .accumulate = 2}, checkpoint()),
            Catch::Contains("batches of a step: this run has \"2\", the checkpoint was made with \"3\""));
        auto trainer = trainer_of(second);
        trainer.resume(directory / "run");
        trainer.fit(batches, {.epochs = 3, .accumulate = 3}, checkpoint());
        CHECK(same(whole->parameters(), second->parameters()));
    }
    std::fclose(silent);
}

TEST_CASE("a step with a non-finite loss in one of its batches is skipped completely") {
    Batches batches = doubles(6, 4);
    batches[4].first.fill_(std::nan(""));
    const Perceptron skipping = net(1), shorter = net(1);
    Trainer one{skipping, retort::NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                Sgd{.learning_rate = 0.1}};
    one.fit(batches, {.epochs = 1, .non_finite = retort::NonFinite::skip, .accumulate = 2});
    Trainer other{shorter, retort::NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                  Sgd{.learning_rate = 0.1}};
    other.fit(Batches(batches.begin(), batches.begin() + 4), {.epochs = 1, .accumulate = 2});
    CHECK(same(skipping->parameters(), shorter->parameters()));
    CHECK(one.history().last("skipped_steps") == 1);
    CHECK(words_of<retort::ConfigError>([&] { one.fit(batches, {.epochs = 2, .accumulate = 0}); }) ==
          "fit: expected a step of 1 or more batches, found 0");
}

}  // namespace accumulation_test
