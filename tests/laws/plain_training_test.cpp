// SPDX-License-Identifier: BSL-1.0
/// \file
/// Law 1: cross-entropy alone, and any composition whose other weights are 0, trains to the same bits as a
/// plain hand-written loop.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/adaptor/tempered.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace plain_training_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Frozen;
using retort::Hint;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::tap;
using retort::Trainer;

namespace {
const Sgd recipe{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 5e-4, .nesterov = true};
torch::optim::SGDOptions options() {
    return torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4).nesterov(true);
}
constexpr int epochs = 3;

template <class Network>
std::vector<torch::Tensor> by_hand(Network net, const std::vector<PairBatch>& batches) {
    torch::manual_seed(42);
    torch::optim::SGD optimizer(net->parameters(), options());
    net->train();
    for (int epoch = 0; epoch < epochs; ++epoch) {
        for (const auto& [input, target] : batches) {
            optimizer.zero_grad();
            const auto loss =
                torch::nn::functional::cross_entropy(retort::logits(net->forward(input)), target);
            loss.backward();
            optimizer.step();
        }
    }
    return state(*net);
}
/// `compose` makes a trainer for the student.
template <class Network, class Compose>
std::vector<torch::Tensor> by_trainer(Network net, const std::vector<PairBatch>& batches, Compose&& compose) {
    torch::manual_seed(42);
    auto trainer = compose(net);
    trainer.fit(batches, {.epochs = epochs, .report_every = 2});
    return state(*net);
}
auto hints() {
    return std::tuple{
        Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, retort::Conv1x1{4, 12}},
        Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Convolution{.batch_norm = true}}};
}
}  // namespace

TEST_CASE("cross-entropy alone, on a perceptron with dropout") {
    torch::manual_seed(1);
    Perceptron hand(8, 0.4), net(8, 0.4);
    const Perceptron start(8, 0.4);
    const auto batches = vectors(4);
    copy_state(*start, *hand);
    const auto expected = by_hand(hand, batches);
    const auto check = [&](auto&& compose) {
        copy_state(*start, *net);
        CHECK(same(by_trainer(net, batches, compose), expected));
    };
    check([](auto& student) {
        return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, recipe};
    });
    check([](auto& student) {
        return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                       retort::FromTorch<torch::optim::SGD>{options()}};
    });
    check([](auto& student) {
        return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                       std::make_shared<torch::optim::SGD>(student->parameters(), options())};
    });
    Perceptron teacher(16, 0.4);
    check([&](auto& student) {
        return Trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}, CrossEntropy{}}, Schedule{0.0, 1.0},
                       recipe};
    });
    check([&](auto& student) {  // the teacher runs, with weight 0
        return Trainer{student, Frozen{teacher},
                       Knowledge{CrossEntropy{}, retort::Tempered{SoftTarget{}, retort::Linear{1.0, 2.0}}},
                       Schedule{1.0, retort::Phases{retort::Phase{2, 0.0}, retort::Phase{0, 0.0}}}, recipe};
    });
}

TEST_CASE(
    "cross-entropy alone, on convolutions with batch norm and dropout, with learnable hints of weight 0") {
    torch::manual_seed(1);
    ConvNet hand(4, 0.3), net(4, 0.3);
    const ConvNet start(4, 0.3);
    const auto batches = images(4);
    copy_state(*start, *hand);
    const auto expected = by_hand(hand, batches);
    const auto check = [&](auto&& compose) {
        copy_state(*start, *net);
        CHECK(same(by_trainer(net, batches, compose), expected));
    };
    check([](auto& student) {
        return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1}, recipe};
    });
    ConvNet teacher(6, 0.3), other(5);
    check([&](auto& student) {
        auto [sized, unsized] = hints();
        return Trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}, sized, unsized},
                       Schedule{1.0, 0.0, 0.0, 0.0}, recipe};
    });
    check([&](auto& student) {
        auto [sized, unsized] = hints();
        return Trainer{student, retort::Ensemble{Frozen{teacher}, Frozen{other}},
                       Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{1.0, 0.0}, recipe};
    });
}

TEST_CASE("a scheduled learning rate is the one that a loop sets manually") {
    torch::manual_seed(1);
    Perceptron hand, net;
    copy_state(*hand, *net);
    const auto batches = vectors(3);
    torch::optim::SGD optimizer(hand->parameters(), options());
    for (int epoch = 0; epoch < epochs; ++epoch) {
        for (const auto& [input, target] : batches) {
            optimizer.param_groups()[0].options().set_lr(epoch < 2 ? 0.05 : 0.05 * 0.1);
            optimizer.zero_grad();
            torch::nn::functional::cross_entropy(hand->forward(input), target).backward();
            optimizer.step();
        }
    }
    CHECK(same(by_trainer(net, batches,
                          [](auto& student) {
                              return Trainer{
                                  student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                                  retort::WithLearningRate{recipe, retort::MultiStep{.milestones = {2}}}};
                          }),
               state(*hand)));
}

TEST_CASE("distillation by the trainer equals a hand-written loop") {
    torch::manual_seed(1);
    ConvNet hand(4), net(4), teacher(6);
    copy_state(*hand, *net);
    const auto batches = images(4);
    torch::optim::SGD optimizer(hand->parameters(), options());
    teacher->eval();
    for (int epoch = 0; epoch < epochs; ++epoch) {
        for (const auto& [input, target] : batches) {
            optimizer.zero_grad();
            const auto goal = [&, &image = input] {
                const torch::NoGradGuard no_grad;
                return teacher->forward(image);
            }();
            const auto outputs = hand->forward(input);
            const auto loss = torch::nn::functional::cross_entropy(outputs.logits, target) * 0.1 +
                              retort::functional::soft_target(outputs.logits, goal.logits) * 0.9;
            loss.backward();
            optimizer.step();
        }
    }
    CHECK(same(by_trainer(net, batches,
                          [&](auto& student) {
                              return Trainer{student, Frozen{teacher},
                                             Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.1, 0.9},
                                             recipe};
                          }),
               state(*hand)));
}

}  // namespace plain_training_test
