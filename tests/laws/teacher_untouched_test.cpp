// SPDX-License-Identifier: BSL-1.0
/// \file
/// Law 4: training leaves the teacher unchanged, in every bit and flag; gradients reach the
/// student and the learnable parts, nothing else.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/metrics/agreement.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace teacher_untouched_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Frozen;
using retort::Hint;
using retort::Knowledge;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::tap;
using retort::Trainer;

namespace {
struct Flags {
    std::vector<bool> training, requires_grad;
    friend bool operator==(const Flags&, const Flags&) = default;
};
Flags flags(const torch::nn::Module& module) {
    Flags result;
    result.training.push_back(module.is_training());
    for (const auto& each : module.modules(false)) result.training.push_back(each->is_training());
    for (const auto& each : module.parameters()) result.requires_grad.push_back(each.requires_grad());
    return result;
}
/// Trains a student with everything that uses a teacher; checks that `teachers` are unchanged.
template <class Policy>
void check_untouched(Policy policy, const std::vector<ConvNet>& teachers) {
    ConvNet student(4, 0.2);
    std::vector<std::vector<torch::Tensor>> states;
    std::vector<Flags> all_flags;
    for (const auto& each : teachers) {
        states.push_back(state(*each));
        all_flags.push_back(flags(*each));
    }
    const auto input_batches = images(3);
    std::vector<torch::Tensor> inputs;
    for (const auto& batch : input_batches) inputs.push_back(batch.first.clone());
    const auto logit_tap = [](const auto& outputs) { return retort::logits(outputs); };
    Trainer trainer{student, std::move(policy),
                    Knowledge{CrossEntropy{}, SoftTarget{},
                              Hint{[](const ConvOutputs& outputs) { return outputs.logits; }, logit_tap}},
                    Schedule{0.5, 0.5, 1.0},
                    Sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.01}};
    const auto before = state(*student);
    trainer.fit(input_batches, {.epochs = 2}, retort::GradientClipping{.max_norm = 1.0});
    trainer.evaluate(input_batches, retort::metrics::Agreement{});
    CHECK_FALSE(same(before, state(*student)));
    for (std::size_t i = 0; i < teachers.size(); ++i) {
        CHECK(same(states[i], state(*teachers[i])));
        CHECK(all_flags[i] == flags(*teachers[i]));
        for (const auto& parameter : teachers[i]->parameters()) CHECK_FALSE(parameter.grad().defined());
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) CHECK(same(inputs[i], input_batches[i].first));
}
}  // namespace

TEST_CASE("law 4: a frozen teacher, whatever its flags") {
    torch::manual_seed(1);
    for (int kind = 0; kind < 4; ++kind) {
        ConvNet teacher(6, 0.5);
        if (kind == 1) teacher->eval();
        if (kind == 2) {
            teacher->norm->eval();
            teacher->second->weight.requires_grad_(false);
        }
        if (kind == 3) {
            teacher->eval();
            teacher->norm->train();
            teacher->drop->train();
        }
        check_untouched(Frozen{teacher}, {teacher});
    }
}

TEST_CASE("law 4: the members of an ensemble") {
    torch::manual_seed(1);
    ConvNet one(6, 0.5), two(5);
    two->eval();
    using Mean = retort::EnsembleOptions::Mean;
    for (const auto mean : {Mean::of_logits, Mean::of_probabilities}) {
        check_untouched(retort::Ensemble{retort::EnsembleOptions{.mean = mean, .weights = {2, 1}},
                                         Frozen{one}, Frozen{two}},
                        {one, two});
    }
}

TEST_CASE("law 4: gradients reach the student and the learnable parts") {
    torch::manual_seed(1);
    ConvNet student(4), teacher(6);
    Trainer trainer{
        student, Frozen{teacher},
        Knowledge{SoftTarget{}, Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, retort::Conv1x1{}}},
        Schedule{1.0, 1.0}, Sgd{}};
    auto batch = images(1)[0];
    batch.first.requires_grad_();  // even if the input requires a gradient
    trainer.step(batch);
    for (const auto& parameter : student->parameters()) CHECK(parameter.grad().defined());
    for (const auto& parameter : trainer.learnable_parts()->parameters()) CHECK(parameter.grad().defined());
    for (const auto& parameter : teacher->parameters()) CHECK_FALSE(parameter.grad().defined());
}

TEST_CASE("law 4: a teacher with gradients receives none") {
    struct Open {  // a user's teacher that forgets the guard
        Perceptron net;
        torch::Tensor operator()(const torch::Tensor& input) { return net->forward(input); }
    };
    Perceptron student, net;
    Trainer trainer{student, Open{net}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
    for (const auto& parameter : net->parameters()) CHECK_FALSE(parameter.grad().defined());
}

}  // namespace teacher_untouched_test
