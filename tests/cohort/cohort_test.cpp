// SPDX-License-Identifier: BSL-1.0
/// \file
/// Steps of cohorts against hand-written loops, bit for bit; law 5; frozen learners; graphs that are
/// built at run time; runs.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace cohort_test {

using namespace retort_test;
using retort::Cohort;
using retort::CrossEntropy;
using retort::edge;
using retort::label;
using retort::Learner;
using retort::RuntimeGraph;
using retort::Sgd;
using retort::SoftTarget;
using retort::tap;
using retort::TransferGraph;
namespace gate = retort::gate;

namespace {
const Sgd sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 5e-4};
torch::optim::SGDOptions sgd_by_hand() {
    return torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(5e-4);
}
/// A copy with separate parameters.
template <class Holder>
Holder twin(const Holder& net, Holder copy) {
    copy_state(*net, *copy);
    return copy;
}
Perceptron twin(const Perceptron& net) { return twin(net, Perceptron(net->first->weight.size(0))); }
/// KL(source || receiver) at temperature 1: the mean over the samples, or per sample. (Other tests compare the
/// loss itself with hand-written code.)
torch::Tensor divergence(const torch::Tensor& receiver, const torch::Tensor& source) {
    return retort::functional::soft_target(receiver, source, {.temperature = 1.0});
}
torch::Tensor divergences(const torch::Tensor& receiver, const torch::Tensor& source) {
    return retort::functional::soft_target(receiver, source,
                                           {.temperature = 1.0, .reduction = retort::Reduction::none});
}
torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& target) {
    return torch::nn::functional::cross_entropy(logits, target);
}
const SoftTarget kl{.temperature = 1.0};
struct CountingTerm {
    static constexpr bool needs_teacher = true, needs_target = false;
    std::shared_ptr<int> calls = std::make_shared<int>(0);
    torch::Tensor operator()(const auto& student, const auto& teacher, const auto&) const {
        ++*calls;
        return (student - teacher).square().mean();
    }
};
struct Hardest {
    static constexpr bool per_sample = true;
    torch::Tensor operator()(const torch::Tensor& losses, const auto&, const auto&, const auto&) const {
        return losses * losses.detach().eq(losses.detach().max());
    }
};
}  // namespace

TEST_CASE("a graph of three learners with all gates steps like a hand-written loop") {
    torch::manual_seed(1);
    Perceptron a(8), b(6), c(7);
    std::vector<Perceptron> hand{twin(a), twin(b), twin(c)};
    std::vector<std::unique_ptr<torch::optim::SGD>> optimizers;
    for (const Perceptron& net : hand)
        optimizers.push_back(std::make_unique<torch::optim::SGD>(net->parameters(), sgd_by_hand()));

    Cohort cohort{Learner{a, sgd}, Learner{b, sgd}, Learner{c, sgd}};
    TransferGraph graph{
        label<0>(),
        label<1>(CrossEntropy{}, gate::PositiveLinear{.iterations = 4}),
        label<2>(CrossEntropy{}, gate::Through{}, 0.5),
        edge<1, 0>(kl, gate::Correct{}),
        edge<2, 0>(kl, gate::NegativeLinear{.unit = retort::Every::step, .iterations = 8}),
        edge<0, 1>(kl),
        edge<2, 1>(kl, gate::Cutoff{}),
        edge<0, 2>(kl, gate::Correct{}, 2.0),
    };
    auto run = cohort.along(graph);
    const auto batches = vectors(6);
    for (std::size_t k = 1; k <= batches.size(); ++k) {
        const auto& [input, target] = batches[k - 1];
        std::vector<torch::Tensor> z, peer;
        for (Perceptron& net : hand) {
            z.push_back(net->forward(input));
            peer.push_back(z.back().detach());
        }
        const auto linear = std::min(1.0, static_cast<double>(k) / 4.0);
        const auto through = [&](std::size_t to, std::size_t from) { return divergence(z[to], peer[from]); };
        const auto correct = [&](std::size_t to, std::size_t from) {
            return (divergences(z[to], peer[from]) * peer[from].argmax(1).eq(target)).mean();
        };
        // One statement for each edge: the operands of a sum may be computed in any order, and gradients add
        // up in the opposite one.
        std::vector<torch::Tensor> losses;
        for (std::size_t i = 0; i < 3; ++i) losses.push_back(cross_entropy(z[i], target));
        if (linear != 1) losses[1] = losses[1] * linear;
        losses[2] = losses[2] * 0.5;
        losses[0] = losses[0] + correct(0, 1);
        losses[0] = losses[0] + through(0, 2) * (1 - static_cast<double>(k) / 8);
        losses[1] = losses[1] + through(1, 0);
        losses[2] = losses[2] + correct(2, 0) * 2;
        for (auto& optimizer : optimizers) optimizer->zero_grad();
        for (auto& loss : losses) loss.backward();
        for (auto& optimizer : optimizers) optimizer->step();

        const auto result = run.step(batches[k - 1]);
        for (std::size_t i = 0; i < 3; ++i) {
            INFO("step " << k << ", learner " << i);
            CHECK(same(result.losses[i].total, losses[i]));
            CHECK(same(result.outputs[i]->detach(), peer[i]));
        }
        CHECK(same(state(*a), state(*hand[0])));
        CHECK(same(state(*b), state(*hand[1])));
        CHECK(same(state(*c), state(*hand[2])));
    }
    CHECK(run.iterations() == std::vector<std::int64_t>(8, 6));
    CHECK(run.progress().step == 6);
}

TEST_CASE("law 5: the order of the learners changes nothing") {
    torch::manual_seed(2);
    Perceptron a(8), b(6);
    Perceptron a2 = twin(a), b2 = twin(b);
    Cohort one{Learner{a, sgd}, Learner{b, Sgd{.learning_rate = 0.05}}};
    Cohort other{Learner{b2, Sgd{.learning_rate = 0.05}}, Learner{a2, sgd}};
    TransferGraph first{label<0>(), label<1>(), edge<1, 0>(kl, gate::Correct{}), edge<0, 1>(kl)};
    TransferGraph second{label<1>(), label<0>(), edge<0, 1>(kl, gate::Correct{}), edge<1, 0>(kl)};
    auto one_run = one.along(first);
    auto other_run = other.along(second);
    for (const auto& batch : vectors(5)) {
        one_run.step(batch);
        other_run.step(batch);
    }
    CHECK(same(state(*a), state(*a2)));
    CHECK(same(state(*b), state(*b2)));
}

TEST_CASE("law 1: one edge from the labels trains like a trainer with cross-entropy, also whole runs") {
    torch::manual_seed(3);
    ConvNet net(4, 0.3);
    ConvNet other = twin(net, ConvNet(4, 0.3));
    const auto batches = images(4);
    const auto rate = retort::WithLearningRate{sgd, retort::Cosine{.every = retort::Every::step}};

    retort::Trainer trainer{other, retort::NoTeacher{}, retort::Knowledge{CrossEntropy{}},
                            retort::Schedule{1.0}, rate};
    torch::manual_seed(4);
    const retort::History theirs = trainer.fit(batches, {.epochs = 3}, retort::Validation{images(2, 6, 9)},
                                               retort::GradientClipping{.max_norm = 1.0});
    Cohort cohort{Learner{net, rate}};
    TransferGraph graph{label<0>()};
    torch::manual_seed(4);
    const retort::History ours =
        cohort.along(graph).fit(batches, {.epochs = 3}, retort::Validation{images(2, 6, 9)},
                                retort::GradientClipping{.max_norm = 1.0});
    CHECK(same(state(*net), state(*other)));
    for (std::size_t row = 0; row < 3; ++row) {
        CHECK(ours.at(row, "loss_0") == theirs.at(row, "loss"));
        CHECK(ours.at(row, "cross_entropy_to_0") == theirs.at(row, "cross_entropy"));
        CHECK(ours.at(row, "accuracy_0") == theirs.at(row, "accuracy"));
        CHECK(ours.at(row, "learning_rate_0") == theirs.at(row, "learning_rate"));
        CHECK(ours.at(row, "validation_accuracy_0") == theirs.at(row, "validation_accuracy"));
        CHECK(ours.at(row, "samples") == 24);
    }
    CHECK(ours.columns() == std::vector<std::string>{"epoch", "learning_rate_0", "loss_0",
                                                     "cross_entropy_to_0", "weight_cross_entropy_to_0",
                                                     "accuracy_0", "samples", "seconds", "samples_per_second",
                                                     "validation_accuracy_0"});
}

TEST_CASE("learners of different types, with hints between them, step like a hand-written loop") {
    torch::manual_seed(5);
    ConvNet a(4);
    struct Flat : torch::nn::Module {
        Flat() : body(register_module("body", torch::nn::Linear(64, 3))) {}
        torch::Tensor forward(const torch::Tensor& x) { return body->forward(x.flatten(1)); }
        torch::nn::Linear body;
    };
    auto b = std::make_shared<Flat>();
    ConvNet hand_a = twin(a, ConvNet(4));
    auto hand_b = std::make_shared<Flat>();
    copy_state(*b, *hand_b);
    ConvNet c(3);
    ConvNet hand_c = twin(c, ConvNet(3));

    const retort::Hint hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{6, 8}};
    torch::nn::Conv2d connector(torch::nn::Conv2dOptions(6, 8, 1));
    copy_state(*hint.module(), *connector);
    Cohort cohort{Learner{a, sgd}, Learner{b, sgd}, Learner{c, sgd}};
    TransferGraph graph{label<0>(), label<1>(), edge<1, 0>(kl), edge<0, 1>(kl),
                        edge<0, 2>(hint, gate::Through{}, 3.0)};
    std::vector<torch::Tensor> with_connector = hand_c->parameters();
    for (const auto& each : connector->parameters()) with_connector.push_back(each);
    torch::optim::SGD one(hand_a->parameters(), sgd_by_hand()), two(hand_b->parameters(), sgd_by_hand()),
        three(with_connector, sgd_by_hand());
    auto run = cohort.along(graph);
    for (const auto& batch : images(3)) {
        const auto x = hand_a->forward(batch.first);
        const auto y = hand_b->forward(batch.first);
        const auto z = hand_c->forward(batch.first);
        const auto first = cross_entropy(x.logits, batch.second) + divergence(x.logits, y.detach());
        const auto second = cross_entropy(y, batch.second) + divergence(y, x.logits.detach());
        const auto third = torch::mse_loss(connector->forward(z.late), x.late.detach()) * 3.0;
        for (auto* each : {&one, &two, &three}) each->zero_grad();
        first.backward();
        second.backward();
        third.backward();
        for (auto* each : {&one, &two, &three}) each->step();
        run.step(batch);
    }
    CHECK(same(state(*a), state(*hand_a)));
    CHECK(same(state(*b), state(*hand_b)));
    CHECK(same(state(*c), state(*hand_c)));
    CHECK(same(state(*hint.module()), state(*connector)));
}

TEST_CASE("a learner without active incoming edges is frozen: in evaluation mode, or as released") {
    torch::manual_seed(6);
    for (const bool released : {false, true}) {
        ConvNet student(4), teacher(6);
        teacher->train();
        const auto before = state(*teacher);
        const auto batch = images(1)[0];
        torch::Tensor expected;
        {
            const torch::NoGradGuard no_grad;
            ConvNet copy = twin(teacher, ConvNet(6));
            released ? copy->train() : copy->eval();
            expected = copy->forward(batch.first).logits;
        }
        Cohort cohort{retort::CohortOptions{.frozen = released ? retort::FrozenMode::train
                                                               : retort::FrozenMode::evaluate},
                      Learner{student, sgd}, Learner{teacher}};
        TransferGraph graph{label<0>(), edge<1, 0>(kl), label<1>(CrossEntropy{}, gate::Cutoff{})};
        const auto result = cohort.along(graph).step(batch);
        CHECK(same(result.outputs[1]->logits, expected));
        CHECK_FALSE(result.outputs[1]->logits.requires_grad());
        CHECK_FALSE(result.losses[1].total.defined());
        CHECK(teacher->is_training());
        CHECK(bool(same(state(*teacher), before)) == !released);
        for (const auto& each : teacher->parameters()) CHECK_FALSE(each.grad().defined());
    }
}

TEST_CASE(
    "law 3: a learner that neither learns nor teaches does not run; edges of weight 0 are not computed") {
    struct CountingImpl : torch::nn::Module {
        CountingImpl() : body(register_module("body", torch::nn::Linear(4, 3))) {}
        torch::Tensor forward(const torch::Tensor& x) {
            ++calls;
            return body->forward(x);
        }
        torch::nn::Linear body;
        int calls = 0;
    };
    auto a = std::make_shared<CountingImpl>(), b = std::make_shared<CountingImpl>(),
         c = std::make_shared<CountingImpl>();
    const CountingTerm shut, open;
    Cohort cohort{Learner{a, sgd}, Learner{b, sgd}, Learner{c, sgd}};
    TransferGraph graph{edge<1, 0>(open), edge<2, 0>(shut, gate::Cutoff{}),
                        label<2>(CrossEntropy{}, gate::Through{}, 0)};
    cohort.along(graph).step(vectors(1)[0]);
    CHECK((a->calls == 1 && b->calls == 1 && c->calls == 0));
    CHECK((*open.calls == 1 && *shut.calls == 0));

    // One forward pass, however many edges.
    TransferGraph full{edge<1, 0>(open), edge<2, 0>(open), edge<0, 1>(open), edge<2, 1>(open),
                       edge<0, 2>(open), edge<1, 2>(open), label<0>()};
    cohort.along(full).step(vectors(1)[0]);
    CHECK((a->calls == 2 && b->calls == 2 && c->calls == 1));
    CHECK(*open.calls == 7);
}

TEST_CASE("a graph built at run time steps to the same bits as one known at compile time") {
    torch::manual_seed(7);
    std::vector<Perceptron> nets{Perceptron(8), Perceptron(6), Perceptron(7)};
    std::vector<Perceptron> copies;
    for (const Perceptron& each : nets) copies.push_back(twin(each));
    Cohort fixed{Learner{nets[0], sgd}, Learner{nets[1], sgd}, Learner{nets[2], sgd}};
    TransferGraph known{label<0>(), label<1>(CrossEntropy{}, gate::Correct{}),
                        edge<1, 0>(kl, gate::Correct{}), edge<2, 0>(kl),
                        edge<0, 1>(kl, gate::PositiveLinear{.iterations = 5}, 0.3)};
    std::vector<Learner<Perceptron>> learners;
    for (const Perceptron& each : copies) learners.emplace_back(each, sgd);
    Cohort open{learners};
    RuntimeGraph<torch::Tensor, PairBatch> graph;
    graph.label(0).label(1, CrossEntropy{}, gate::Correct{}).edge(1, 0, kl, gate::Correct{}).edge(2, 0, kl);
    graph.edge(0, 1, kl, gate::PositiveLinear{.iterations = 5}, 0.3);
    auto fixed_run = fixed.along(known);
    auto open_run = open.along(graph);
    for (const auto& batch : vectors(6)) {
        fixed_run.step(batch);
        open_run.step(batch);
    }
    for (std::size_t i = 0; i < 3; ++i) CHECK(same(state(*nets[i]), state(*copies[i])));
    CHECK(graph.description() == known.description());
    CHECK(open_run.iterations() == fixed_run.iterations());
}

TEST_CASE("a custom gate gets the losses of the samples") {
    torch::manual_seed(8);
    Perceptron a, b;
    Cohort cohort{Learner{a, sgd}, Learner{b}};
    TransferGraph graph{edge<1, 0>(kl, Hardest{})};
    const auto batch = vectors(1)[0];
    const auto each = divergences(a->forward(batch.first), b->forward(batch.first));
    auto run = cohort.along(graph);
    const auto losses = run.losses(batch);
    CHECK(losses[0].total.item<double>() ==
          Approx(each.max().item<double>() / static_cast<double>(batch.first.size(0))));
    CHECK(run.progress().step == 0);
}

TEST_CASE("each run along a graph is a separate training: progress, history, optimizers") {
    torch::manual_seed(9);
    ConvNet a(4), b(6);
    ConvNet hand = twin(a, ConvNet(4));
    Cohort cohort{Learner{a, sgd}, Learner{b}};
    TransferGraph graph{label<0>()};
    const auto batches = images(2);
    auto first = cohort.along(graph);
    CHECK(first.fit(batches, {.epochs = 2}).size() == 2);
    CHECK(first.optimizer(1) == nullptr);
    const retort::History& second =
        cohort.along(graph).fit(batches, {.epochs = 1});  // a value, which the reference keeps
    CHECK(second.size() == 1);
    CHECK(second.last("epoch") == 0);
    CHECK(first.progress().epoch == 2);
    // Like two trainers in sequence: the second starts without momentum.
    for (const std::int64_t epochs : {2, 1}) {
        retort::Trainer trainer{hand, retort::NoTeacher{}, retort::Knowledge{CrossEntropy{}},
                                retort::Schedule{1.0}, sgd};
        trainer.fit(batches, {.epochs = epochs});
    }
    CHECK(same(state(*a), state(*hand)));
}

TEST_CASE("a run outlives cohort and graph, and both can be temporaries") {
    torch::manual_seed(9);
    Perceptron a(8), b(6);
    Perceptron hand_a = twin(a), hand_b = twin(b);
    const auto batches = vectors(3);
    auto run = [&] {
        Cohort cohort{Learner{a, sgd}, Learner{b, sgd}};
        return cohort.along(TransferGraph{label<0>(), label<1>(), edge<1, 0>(kl)});
    }();
    STATIC_REQUIRE(retort::TrainingRun<decltype(run)>);
    auto moved = std::move(run);
    moved.fit(batches, {.epochs = 2}, retort::Validation{vectors(1)});
    Cohort{Learner{hand_a, sgd}, Learner{hand_b, sgd}}
        .along(TransferGraph{label<0>(), label<1>(), edge<1, 0>(kl)})
        .fit(batches, {.epochs = 2});
    CHECK(same(state(*a), state(*hand_a)));
    CHECK(same(state(*b), state(*hand_b)));
    CHECK(moved.evaluate(1, batches).value() == retort::evaluate(b, batches).value());
}

TEST_CASE("the learnable parts of another graph are added to an existing optimizer") {
    torch::manual_seed(9);
    ConvNet a(4), b(6);
    torch::optim::SGD optimizer(a->parameters(), sgd_by_hand());
    Cohort cohort{Learner{a, optimizer}, Learner{b}};
    TransferGraph first{label<0>()};
    const retort::Hint hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}};
    TransferGraph second{label<0>(), edge<1, 0>(hint)};
    const auto batches = images(2);
    auto run = cohort.along(first);
    run.fit(batches, {.epochs = 1});
    CHECK(run.optimizer(0) == &optimizer);
    CHECK(optimizer.param_groups().size() == 1);
    auto other = cohort.along(second);
    other.fit(batches, {.epochs = 1});
    REQUIRE(optimizer.param_groups().size() == 2);
    const auto part = hint.module()->parameters()[0];
    CHECK(optimizer.param_groups()[1].params()[0].is_same(part));
    CHECK(part.grad().defined());
    run.fit(batches, {.epochs = 2});
    other.fit(batches, {.epochs = 2});
    cohort.along(second).fit(batches,
                             {.epochs = 1});  // the parts of a graph that is used again are already in it
    CHECK(optimizer.param_groups().size() == 2);
}

TEST_CASE("invalid cohorts and graphs are errors") {
    Perceptron a, b;
    const auto batch = vectors(1)[0];
    const auto config = [](auto&& function) { return words_of<retort::ConfigError>(function); };
    CHECK(
        holds(config([&] { Cohort{Learner{a, sgd}, Learner{a, sgd}}; }), "first.weight", "learners 0 and 1"));
    CHECK(holds(config([&] { Cohort{std::vector<Learner<Perceptron>>{}}; }), "at least one learner"));
    CHECK(holds(config([&] { Cohort{Learner{Perceptron(nullptr), sgd}}; }), "empty holder"));

    Cohort cohort{Learner{a, sgd}, Learner{b}};
    TransferGraph nothing{label<0>(CrossEntropy{}, gate::Cutoff{})};
    CHECK(holds(config([&] { cohort.along(nothing).step(batch); }),
                "no learner has an active incoming edge in epoch 0, step 0"));
    TransferGraph unarmed{label<1>()};
    CHECK(holds(config([&] { cohort.along(unarmed).step(batch); }), "learner 1", "optimizer"));
    struct NotANumber {
        double weight(const retort::Progress&) const { return std::nan(""); }
    };
    TransferGraph broken{label<0>(), edge<1, 0>(kl, gate::Through{}, NotANumber{})};
    CHECK(holds(config([&] { cohort.along(broken).step(batch); }), "finite weight", "soft_target_1_to_0",
                "step 0"));
    RuntimeGraph<torch::Tensor, PairBatch> outside;
    outside.edge(2, 0, kl);
    CHECK(holds(config([&] { cohort.along(outside); }), "below 2", "starts at learner 2"));
    TransferGraph timeless{label<0>(CrossEntropy{}, gate::PositiveLinear{})};
    CHECK(holds(config([&] { cohort.along(timeless).step(batch); }), "gate::PositiveLinear", "iterations"));
    CHECK(holds(config([&] { label<0>(CrossEntropy{}, gate::PositiveLinear{.iterations = -1}); }),
                "at least 0, found -1"));
    CHECK(holds(config([&] { cohort.evaluate(2, vectors(1)); }), "below 2, found 2"));

    ConvNet c(2), d(2), e(2);
    const retort::Hint hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}};
    Cohort three{Learner{c, sgd}, Learner{d, sgd}, Learner{e}};
    TransferGraph shared{edge<2, 0>(hint), edge<2, 1>(hint)};
    CHECK(holds(config([&] { three.along(shared).step(images(1)[0]); }), "learners 0 and 1",
                "new term for each edge"));
    // Nothing was counted.
    auto run = cohort.along(timeless);
    CHECK_THROWS_AS(run.step(batch), retort::ConfigError);
    CHECK(run.progress().step == 0);
    CHECK(run.iterations()[0] == 0);
    CHECK(holds(config([&] { run.set_iterations({1, 2}); }), "each of the 1 edges, found 2"));
    CHECK(holds(config([&] { run.set_iterations({-1}); }), "at least 0"));
    // One optimizer for two learners would make two updates per step.
    torch::optim::SGD one(a->parameters(), sgd_by_hand());
    one.add_param_group(torch::optim::OptimizerParamGroup(b->parameters()));
    Cohort both{Learner{a, one}, Learner{b, one}};
    CHECK(holds(config([&] { both.along(retort::independent<2>()).step(batch); }),
                "learner 1: expected a separate optimizer, found that of learner 0"));
}

TEST_CASE("a run of a cohort: history, best model, losses that are not finite") {
    torch::manual_seed(10);
    ConvNet a(4), b(4);
    const auto slow = retort::WithLearningRate{sgd, retort::Exponential{.initial = 1.0, .factor = 0.5}};
    Cohort cohort{Learner{a, sgd}, Learner{b, slow}};
    TransferGraph graph{label<0>(), label<1>(), edge<1, 0>(kl), edge<1, 0>(kl, gate::Correct{}),
                        edge<0, 1>(kl, gate::PositiveLinear{})};
    std::vector<std::vector<torch::Tensor>> states;
    retort::BestModel best{{.column = "validation_accuracy_1"}};
    auto run = cohort.along(graph);
    const retort::History& history = run.fit(
        images(3), {.epochs = 2}, retort::Validation{images(2, 6, 9)}, best,
        retort::on_epoch_end([&](retort::FitContext& context) { states.push_back(state(context.student)); }));
    REQUIRE(history.size() == 2);
    for (const char* column : {"soft_target_1_to_0", "soft_target_1_to_0_2", "soft_target_0_to_1",
                               "weight_soft_target_1_to_0_2", "validation_accuracy_0"})
        CHECK(std::isfinite(history.at(1, column)));
    CHECK(history.at(1, "learning_rate_1") == Approx(0.05));
    CHECK(history.at(1, "weight_soft_target_0_to_1") == Approx(6.0 / 8.0));  // (3 + 1) x 2 steps in all
    CHECK(history.at(1, "loss_0") ==
          Approx(history.at(1, "cross_entropy_to_0") + history.at(1, "soft_target_1_to_0") +
                 history.at(1, "soft_target_1_to_0_2")));
    CHECK(same(state(cohort.module()), states[static_cast<std::size_t>(best.best_epoch())]));

    auto spoiled = images(3);
    spoiled[1].first.fill_(std::nanf(""));
    const auto before = run.progress();
    CHECK_THROWS_AS(run.fit(spoiled, {.epochs = 3, .report_every = 1}), retort::NonFiniteError);
    CHECK(run.progress().epoch == before.epoch);

    ConvNet c(4), d(4);
    Cohort careful{Learner{c, sgd}, Learner{d, sgd}};
    TransferGraph two{label<0>(), label<1>(), edge<1, 0>(kl)};
    auto skipping = careful.along(two);
    skipping.fit(spoiled, {.epochs = 1, .non_finite = retort::NonFinite::skip});
    CHECK(skipping.history().last("skipped_steps") == 1);
    CHECK(skipping.history().last("samples") == 12);
    for (const auto& each : state(careful.module())) CHECK(each.isfinite().all().item<bool>());
    CHECK(skipping.iterations() == std::vector<std::int64_t>(3, 2));
}

}  // namespace cohort_test
