// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cohorts in reduced precision and with scaled losses; the options of `fit`, for each learner.
#include <precision_cases.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace precision_test {

using namespace retort_test;
using retort::Bfloat16;
using retort::Cohort;
using retort::CrossEntropy;
using retort::label;
using retort::Learner;
using retort::Sgd;
using retort::SoftTarget;
using retort::TransferGraph;
namespace gate = retort::gate;

namespace {
const Sgd sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 5e-4};
/// Records the type of its forward pass.
struct WatchedImpl : torch::nn::Module {
    explicit WatchedImpl(std::int64_t width) : net(register_module("net", Perceptron(width))) {}
    torch::Tensor forward(const torch::Tensor& input) {
        auto result = net->forward(input);
        seen = result.scalar_type();
        return result;
    }
    Perceptron net;
    at::ScalarType seen = at::kFloat;
};
TORCH_MODULE(Watched);
/// 1 in even epochs, 0 in odd ones.
struct Even {
    double weight(const retort::Progress& progress) const {
        return static_cast<double>((progress.epoch + 1) % 2);
    }
};
Perceptron twin(const Perceptron& net) {
    Perceptron copy(net->first->weight.size(0));
    copy_state(*net, *copy);
    return copy;
}
}  // namespace

TEST_CASE("mutual learning in bfloat16 is the hand-written loop with autocast, bit for bit") {
    torch::manual_seed(1);
    Watched a(8), b(6), teacher(10);
    const auto batches = vectors(4);
    std::vector<Perceptron> hand{twin(a->net), twin(b->net)};
    std::vector<std::unique_ptr<torch::optim::SGD>> optimizers;
    for (const Perceptron& net : hand) {
        optimizers.push_back(std::make_unique<torch::optim::SGD>(
            net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(5e-4)));
    }
    Cohort cohort{Bfloat16{}, Learner{a, sgd}, Learner{b, sgd}, Learner{teacher}};
    const SoftTarget kl{.temperature = 1.0};
    TransferGraph graph{label<0>(), label<1>(), retort::edge<1, 0>(kl), retort::edge<0, 1>(kl),
                        retort::edge<2, 0>(kl)};
    auto run = cohort.along(graph);
    CHECK(run.scaler() == nullptr);
    const auto narrow = [](auto& net, const torch::Tensor& input) {
        const retort::detail::Autocast cast(at::kCPU, at::kBFloat16);
        return net->forward(input);
    };
    for (const auto& batch : batches) {
        const auto result = run.step(batch);
        std::vector<torch::Tensor> z, peers, losses;
        for (Perceptron& net : hand) {
            z.push_back(narrow(net, batch.first).to(at::kFloat));
            peers.push_back(z.back().detach());
        }
        const auto goal = [&] {
            const torch::NoGradGuard no_grad;
            return narrow(teacher->net, batch.first).to(at::kFloat);
        }();
        for (std::size_t i = 0; i < 2; ++i) {
            losses.push_back(torch::nn::functional::cross_entropy(z[i], batch.second) +
                             retort::functional::soft_target(z[i], peers[1 - i], {.temperature = 1.0}));
        }
        losses[0] = losses[0] + retort::functional::soft_target(z[0], goal, {.temperature = 1.0});
        for (auto& each : optimizers) each->zero_grad();
        for (auto& each : losses) each.backward();
        for (auto& each : optimizers) each->step();
        CHECK(same(result.losses[0].total, losses[0]));
        CHECK(same(result.losses[1].total, losses[1]));
        CHECK(std::get<0>(result.outputs)->scalar_type() == at::kFloat);
    }
    CHECK(same(a->net->parameters(), hand[0]->parameters()));
    CHECK(same(b->net->parameters(), hand[1]->parameters()));
    for (const Watched& each : {a, b, teacher}) CHECK(each->seen == at::kBFloat16);
    CHECK_FALSE(retort::detail::compat::autocast_enabled(at::kCPU));

    // A number of learners known only at run time gives the same results.
    torch::manual_seed(1);
    Watched c(8), d(6);
    const Watched e(10);
    Cohort open{std::vector{Learner{c, sgd}, Learner{d, sgd}, Learner{e}}, Bfloat16{}};
    retort::RuntimeGraph<torch::Tensor, PairBatch> runtime;
    runtime.label(0).label(1).edge(1, 0, kl).edge(0, 1, kl).edge(2, 0, kl);
    auto open_run = open.along(runtime);
    for (const auto& batch : batches) open_run.step(batch);
    CHECK(same(c->parameters(), a->parameters()));
    CHECK(same(d->parameters(), b->parameters()));
}

TEST_CASE("float32 is the precision of a cohort without one") {
    Perceptron a, b;
    Cohort plain{Learner{a, sgd}}, said{retort::Float32{}, Learner{b, sgd}};
    STATIC_REQUIRE(std::is_same_v<decltype(plain), decltype(said)>);
}

TEST_CASE(
    "a cohort in float16 learns on CPUs with LibTorch 2.6 or later, and is refused with earlier versions") {
    torch::manual_seed(1);
    Watched a(8), b(6);
    const auto make = [&] {
        return Cohort{retort::Float16{{.initial = 256.0}}, Learner{a, sgd}, Learner{b, sgd}};
    };
    if (!retort::detail::compat::float16_on_cpu) {
        CHECK(words_of<retort::ConfigError>(make) ==
              "Float16: expected the learners on a CUDA device, or LibTorch 2.6 or later, found cpu and "
              "LibTorch " TORCH_VERSION "; Bfloat16 works there");
        return;
    }
    const auto batches = vectors(6);
    const auto twins = std::pair(twin(a->net), twin(b->net));
    auto cohort = make();
    auto graph = retort::mutual_learning<2>(), wide_graph = retort::mutual_learning<2>();
    auto run = cohort.along(graph);
    const auto& history = run.fit(batches, {.epochs = 4});
    CHECK(a->seen == at::kHalf);
    CHECK(b->seen == at::kHalf);
    CHECK(run.scaler()->factor() == 256.0);
    // As in float32, except for the precision.
    Cohort wide{Learner{twins.first, sgd}, Learner{twins.second, sgd}};
    const auto& expected = wide.along(wide_graph).fit(batches, {.epochs = 4});
    for (const char* loss : {"loss_0", "loss_1"}) {
        for (std::size_t i = 0; i < history.size(); ++i)
            CHECK(history.at(i, loss) == Approx(expected.at(i, loss)).epsilon(0.02));
        CHECK(history.last(loss) != expected.last(loss));
    }
}

TEST_CASE("a power-of-two scale changes no bit; a step that overflows for one learner is skipped by all") {
    const auto batches = vectors(6);
    const auto run = [&](auto precision, const auto& seen, std::int64_t when) {
        torch::manual_seed(1);
        Perceptron a(8), b(6);
        Cohort cohort{precision, Learner{a, sgd}, Learner{b, sgd}};
        Broken broken;
        broken.when = when;
        TransferGraph graph{label<0>(), label<1>(), retort::edge<1, 0>(SoftTarget{}),
                            retort::edge<0, 1>(SoftTarget{}), label<1>(broken)};
        int updates = 0;
        auto training = cohort.along(graph);
        const auto& history =
            training.fit(seen, {.epochs = 1}, retort::on_gradients([&](retort::FitContext& context) {
                             ++updates;
                             for (const auto& p : context.parameters)
                                 CHECK(p.grad().isfinite().all().template item<bool>());
                         }));
        CHECK(updates == static_cast<int>(seen.size()) - (when >= 0 ? 1 : 0));
        if (when >= 0) CHECK(history.last("skipped_steps") == 1);
        CHECK(training.iterations()[0] == updates);
        auto result = a->parameters();
        for (const auto& each : b->parameters()) result.push_back(each);
        return std::pair(result, training.scaler() == nullptr ? 0.0 : training.scaler()->factor());
    };
    const auto plain = run(retort::Float32{}, batches, -1);
    const auto scaled = run(Scaled{{.initial = 1024.0, .interval = 5}}, batches, -1);
    CHECK(same(plain.first, scaled.first));
    CHECK(scaled.second == 2048.0);
    auto left = batches;
    left.erase(left.begin() + 2);
    const auto skipped = run(Scaled{{.initial = 1024.0}}, batches, 2);
    CHECK(same(skipped.first, run(retort::Float32{}, left, -1).first));
    CHECK(skipped.second == 512.0);
    // A manual step, too.
    torch::manual_seed(1);
    Perceptron net(8), other = twin(net);
    Cohort cohort{Scaled{{.initial = 4.0}}, Learner{net, sgd}};
    Broken broken;
    broken.when = 0;
    TransferGraph graph{label<0>(), label<0>(broken)};
    auto by_hand = cohort.along(graph);
    by_hand.step(batches[0]);
    CHECK(same(net->parameters(), other->parameters()));
    CHECK(by_hand.scaler()->factor() == 2.0);
    CHECK(by_hand.progress().step == 1);
}

TEST_CASE(
    "law 9: a cohort in bfloat16, or with scaled losses, resumes bit for bit, and not in another precision") {
    const auto batches = vectors(4);
    const TemporaryDirectory directory;
    const auto run = [&](auto precision, const char* file, int steps, bool save, bool resume) {
        torch::manual_seed(resume ? 2 : 1);
        Perceptron a(8), b(6);
        Cohort cohort{precision, Learner{a, retort::AdamW{.learning_rate = 0.05}}, Learner{b, sgd}};
        auto training = cohort.along(retort::mutual_learning<2>());
        if (resume) training.resume(directory / file);
        for (int i = 0; i < steps; ++i)
            training.step(batches[static_cast<std::size_t>(training.progress().step % 4)]);
        if (save) training.save(directory / file);
        auto result = a->parameters();
        for (const auto& each : b->parameters()) result.push_back(each);
        result.push_back(torch::tensor(training.scaler() == nullptr ? 0.0 : training.scaler()->factor()));
        return result;
    };
    const auto both = [&](auto precision, const char* file) {
        const auto whole = run(precision, file, 7, false, false);
        run(precision, file, 3, true, false);
        CHECK(same(run(precision, file, 4, false, true), whole));
    };
    both(Bfloat16{}, "narrow");
    both(Scaled{{.initial = 4.0, .interval = 2}}, "scaled");
    CHECK_THROWS_WITH(run(retort::Float32{}, "narrow", 1, false, true), Catch::Contains("precision/type"));
}

TEST_CASE(
    "accumulation, clipping, parameter groups and averages are those of each learner, as in its own "
    "trainer") {
    const auto batches = vectors(6);
    torch::manual_seed(1);
    Perceptron a(8), b(6);
    const Perceptron alone = twin(a);
    const retort::ParameterGroups<Sgd> recipe{sgd, {{.names = "*bias", .weight_decay = 0.0}}};
    const retort::FitOptions options{.epochs = 3, .accumulate = 2};
    const retort::GradientClipping clipping{.max_norm = 0.05, .max_value = 0.03};
    // Learner 1 learns in every other epoch; what it learned before must not count in the norm of learner 0.
    Cohort cohort{Learner{a, recipe}, Learner{b, recipe}};
    TransferGraph graph{label<0>(), label<1>(CrossEntropy{}, gate::Through{}, Even{})};
    retort::WeightAverage average{{.decay = 0.9, .hand_over = true}};
    std::int64_t stale = 0;
    cohort.along(graph).fit(
        batches, options, retort::on_gradients([&](retort::FitContext& context) {
            CHECK(context.parameters_of_learners().size() ==
                  (context.progress.epoch == 1 ? std::size_t{1} : std::size_t{2}));
            if (context.progress.epoch != 1) return;
            for (const auto& p : b->parameters())
                stale += p.grad().defined() ? p.grad().count_nonzero().template item<std::int64_t>() : 0;
        }),
        clipping, average);
    CHECK(stale == 0);
    retort::Trainer trainer{alone, retort::NoTeacher{}, retort::Knowledge{CrossEntropy{}},
                            retort::Schedule{1.0}, recipe};
    retort::WeightAverage own{{.decay = 0.9, .hand_over = true}};
    trainer.fit(batches, options, clipping, own);
    CHECK(same(a->parameters(), alone->parameters()));
}

}  // namespace precision_test
