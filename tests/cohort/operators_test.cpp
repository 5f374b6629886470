// SPDX-License-Identifier: BSL-1.0
/// \file
/// Law 2 for cohorts: a step issues the operators of the hand-written step, by name and number, except for the
/// detaching of peers, which needs none; and none that waits for the device.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/cohort.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/optim.hpp>

namespace operators_test {

using namespace retort_test;
using retort::Cohort;
using retort::Learner;
using retort::SoftTarget;
using retort::tap;
namespace gate = retort::gate;

namespace {
torch::optim::SGDOptions options() { return torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4); }
/// The operators of `step` once everything is built.
template <class Step>
std::map<std::string, std::size_t> operators_of(Step&& step) {
    for (int i = 0; i < 3; ++i) step();
    OperatorCount count;
    step();
    count.stop();
    auto result = count.by_name();
    for (const char* name : {"aten::detach", "detach"}) result.erase(name);
    return result;
}
/// Hand-written mutual learning of perceptrons.
struct ByHand {
    explicit ByHand(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            nets.emplace_back(8);
            optimizers.push_back(std::make_unique<torch::optim::SGD>(nets[i]->parameters(), options()));
        }
    }
    void step(const PairBatch& batch) {
        std::vector<torch::Tensor> z, peers, losses;
        for (Perceptron& net : nets) {
            z.push_back(net->forward(batch.first));
            peers.push_back(z.back().detach());
        }
        for (std::size_t i = 0; i < nets.size(); ++i) {
            losses.push_back(torch::nn::functional::cross_entropy(z[i], batch.second));
            for (std::size_t j = 0; j < nets.size(); ++j) {
                if (i == j) continue;
                losses[i] = losses[i] + retort::functional::soft_target(z[i], peers[j], {.temperature = 1.0});
            }
        }
        for (auto& each : optimizers) each->zero_grad();
        for (auto& each : losses) each.backward();
        for (auto& each : optimizers) each->step();
    }
    std::vector<Perceptron> nets;
    std::vector<std::unique_ptr<torch::optim::SGD>> optimizers;
};
}  // namespace

TEST_CASE("law 2: mutual learning of three, along a compile-time and along a run-time graph") {
    torch::manual_seed(1);
    const auto batch = vectors(1)[0];
    ByHand hand(3);
    const auto expected = operators_of([&] { hand.step(batch); });
    REQUIRE(expected.size() > 10);

    ByHand nets(3);
    Cohort cohort{Learner{nets.nets[0], *nets.optimizers[0]}, Learner{nets.nets[1], *nets.optimizers[1]},
                  Learner{nets.nets[2], *nets.optimizers[2]}};
    auto graph = retort::mutual_learning<3>();
    auto run = cohort.along(graph);
    CHECK(operators_of([&] { run.step(batch); }) == expected);

    ByHand others(3);
    std::vector<Learner<Perceptron>> learners;
    for (std::size_t i = 0; i < 3; ++i) learners.emplace_back(others.nets[i], *others.optimizers[i]);
    Cohort open{learners};
    auto at_run_time = retort::mutual_learning<torch::Tensor, PairBatch>(3);
    auto open_run = open.along(at_run_time);
    CHECK(operators_of([&] { open_run.step(batch); }) == expected);
}

TEST_CASE(
    "law 2: gates and frozen learners issue only their own operators, and nothing waits for the device") {
    torch::manual_seed(2);
    const auto batch = images(1)[0];
    ConvNet student(4), teacher(6), hand(4), hand_teacher(6);
    torch::optim::SGD ours(student->parameters(), options()), theirs(hand->parameters(), options());
    hand_teacher->eval();
    const auto expected = operators_of([&] {
        const auto goal = [&] {
            const torch::NoGradGuard no_grad;
            return hand_teacher->forward(batch.first).logits;
        }();
        const auto z = hand->forward(batch.first).logits;
        auto loss = torch::nn::functional::cross_entropy(z, batch.second) * 0.5;
        const auto each = retort::functional::soft_target(
            z, goal, {.temperature = 1.0, .reduction = retort::Reduction::none});
        loss = loss + (each * goal.argmax(1).eq(batch.second)).mean();
        theirs.zero_grad();
        loss.backward();
        theirs.step();
    });
    Cohort cohort{Learner{student, ours}, Learner{teacher}};
    retort::TransferGraph graph{retort::label<0>(retort::CrossEntropy{}, gate::Through{}, 0.5),
                                retort::edge<1, 0>(SoftTarget{.temperature = 1.0}, gate::Correct{}),
                                retort::edge<1, 0>(SoftTarget{}, gate::Cutoff{}),
                                retort::label<1>(retort::CrossEntropy{}, gate::Through{}, 0.0)};
    auto run = cohort.along(graph);
    const auto counts = operators_of([&] { run.step(batch); });
    CHECK(counts == expected);
    for (const char* name : {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal"})
        CHECK(counts.count(name) == 0);
}

}  // namespace operators_test
