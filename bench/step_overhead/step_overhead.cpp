// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cost of the composition: a step of `retort::Trainer` compared with the same step hand-written on LibTorch, and
/// in Python if Debian's python3-torch is installed.
///
/// Counted: operators (through `at::RecordFunction`) and tensor allocations, without the optimizer's, which is the
/// same in both and compared separately. Timed: CPU time of one thread, hand-written and composed steps alternating;
/// the ratio is the median over the pairs, so that other load affects both alike.
#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/retort.hpp>

#include "../common/measure.hpp"
#include "models/residual.hpp"

namespace {

using namespace measure;

// --- cases

// Not 4: with a batch of 16, temperature^2 / batch would be 1, and retort omits a factor of 1.
constexpr double temperature = 3.0;
const auto sgd_options = torch::optim::SGDOptions(0.01).momentum(0.9).weight_decay(5e-4);

struct PerceptronImpl : torch::nn::Module {
    explicit PerceptronImpl(std::int64_t width)
        : hidden(register_module("hidden", torch::nn::Linear(64, width))),
          out(register_module("out", torch::nn::Linear(width, 10))) {}
    torch::Tensor forward(const torch::Tensor& x) { return out(torch::relu(hidden(x))); }
    torch::nn::Linear hidden;
    torch::nn::Linear out;
};
TORCH_MODULE(Perceptron);

/// The hand-written step calls the library's function, too: this compares what objective and trainer add.
/// bench/losses compares the function with the explicit formula. (The step in Python uses the explicit formula.)
torch::Tensor soft_target(const torch::Tensor& student, const torch::Tensor& teacher) {
    return retort::functional::soft_target(student, teacher, {.temperature = temperature});
}

struct Ratios {
    double operators = 0;
    double time = 0;
};

/// Counts, times and prints one case. Both sides must start and end with the same weights.
Ratios report(const char* name, const std::function<void()>& hand_written,
              const std::function<void()>& composed, const std::vector<torch::Tensor>& hand_parameters,
              const std::vector<torch::Tensor>& composed_parameters, int pairs, int times,
              double python_seconds) {
    hand_written();
    composed();  // the first steps create momenta and, in the trainer, the optimizer
    const Counts hand = counted(hand_written);
    const Counts own = counted(composed);
    const Times time = compare(hand_written, composed, pairs, times);
    for (std::size_t i = 0; i < hand_parameters.size(); ++i) {
        if (!hand_parameters[i].equal(composed_parameters.at(i))) {
            std::fprintf(stderr,
                         "%s: the composed steps ended with different weights than the hand-written ones\n",
                         name);
            std::exit(1);
        }
    }
    const Ratios ratios{static_cast<double>(own.total()) / static_cast<double>(hand.total()), time.ratio};
    std::printf("%s\n", name);
    std::printf("  operators           hand-written %6ld   composed %6ld   ratio %.3f\n", hand.total(),
                own.total(), ratios.operators);
    for (const auto& [key, count] : own.operators) {
        const auto found = hand.operators.find(key);
        const long other = found == hand.operators.end() ? 0 : found->second;
        if (other != count)
            std::printf("    %-36s hand-written %ld, composed %ld\n", key.c_str(), other, count);
    }
    for (const auto& [key, count] : hand.operators) {
        if (!own.operators.contains(key))
            std::printf("    %-36s hand-written %ld, composed 0\n", key.c_str(), count);
    }
    const auto waits = own.operators.find("aten::_local_scalar_dense");
    std::printf("  waits               composed %ld\n", waits == own.operators.end() ? 0 : waits->second);
    std::printf("  tensor allocations  hand-written %6ld   composed %6ld\n", hand.allocations,
                own.allocations);
    std::printf(
        "  time per step       hand-written %.3f ms   composed %.3f ms   ratio %.3f (median of %d pairs)\n",
        1e3 * time.first, 1e3 * time.second, time.ratio, pairs);
    if (python_seconds > 0) {
        std::printf("  fastest step        composed %.3f ms   Python %.3f ms   ratio %.3f\n",
                    1e3 * time.fastest_second, 1e3 * python_seconds, python_seconds / time.fastest_second);
    }
    std::fflush(stdout);
    return ratios;
}

Ratios perceptron(int pairs, double python_seconds) {
    torch::manual_seed(1);
    Perceptron teacher(256);
    teacher->eval();
    Perceptron hand_student(32);
    Perceptron own_student(32);
    {
        const torch::NoGradGuard no_grad;
        for (std::size_t i = 0; i < own_student->parameters().size(); ++i) {
            own_student->parameters()[i].copy_(hand_student->parameters()[i]);
        }
    }
    const std::pair batch(torch::randn({32, 64}), torch::randint(10, {32}));

    UncountedSgd optimizer(hand_student->parameters(), sgd_options);
    const auto hand_written = [&] {
        torch::Tensor teacher_logits;
        {
            const torch::NoGradGuard no_grad;
            teacher_logits = teacher->forward(batch.first);
        }
        const torch::Tensor logits = hand_student->forward(batch.first);
        const torch::Tensor loss = 0.1 * torch::nn::functional::cross_entropy(logits, batch.second) +
                                   0.9 * soft_target(logits, teacher_logits);
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
    };
    UncountedSgd fused_optimizer(own_student->parameters(), sgd_options);
    retort::Trainer trainer{
        own_student, retort::Frozen{teacher},
        retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = temperature}},
        retort::Schedule{0.1, 0.9}, fused_optimizer};
    return report(
        "(a) perceptron 64-32-10 from 64-256-10, batch 32", hand_written, [&] { trainer.step(batch); },
        hand_student->parameters(), own_student->parameters(), 8 * pairs, 100, python_seconds);
}

template <bool with_hints>
Ratios residual(int pairs, double python_seconds) {
    torch::manual_seed(1);
    models::ResidualNet teacher = models::resnet_x4(32);
    teacher->eval();
    models::ResidualNet hand_student = models::resnet_x4(8);
    models::ResidualNet own_student = models::resnet_x4(8);
    torch::nn::Conv2d connector1(torch::nn::Conv2dOptions(128, 128, 1));
    torch::nn::Conv2d connector2(torch::nn::Conv2dOptions(256, 256, 1));
    const std::pair batch(torch::randn({16, 3, 32, 32}), torch::randint(100, {16}));

    std::vector<torch::Tensor> hand_parameters = hand_student->parameters();
    if (with_hints) {
        for (const auto& parameter : connector1->parameters()) hand_parameters.push_back(parameter);
        for (const auto& parameter : connector2->parameters()) hand_parameters.push_back(parameter);
    }
    UncountedSgd optimizer(hand_parameters, sgd_options);
    const auto hand_written = [&] {
        models::ImageOutputs from;
        {
            const torch::NoGradGuard no_grad;
            from = teacher->forward(batch.first);
        }
        const models::ImageOutputs outputs = hand_student->forward(batch.first);
        torch::Tensor loss = 0.1 * torch::nn::functional::cross_entropy(outputs.logits, batch.second) +
                             0.9 * soft_target(outputs.logits, from.logits);
        if (with_hints) {
            loss = loss + 0.5 * torch::mse_loss(connector1(outputs.stages[1]), from.stages[1]);
            loss = loss + 0.5 * torch::mse_loss(connector2(outputs.stages[2]), from.stages[2]);
        }
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
    };

    UncountedSgd fused_optimizer(own_student->parameters(), sgd_options);
    auto trainer = [&] {
        if constexpr (with_hints) {
            using models::ImageOutputs;
            return retort::Trainer{
                own_student, retort::Frozen{teacher},
                retort::Knowledge{
                    retort::CrossEntropy{}, retort::SoftTarget{.temperature = temperature},
                    retort::Hint{retort::tap<&ImageOutputs::stages, 1>, retort::tap<&ImageOutputs::stages, 1>,
                                 retort::Conv1x1{128, 128}},
                    retort::Hint{retort::tap<&ImageOutputs::stages, 2>, retort::tap<&ImageOutputs::stages, 2>,
                                 retort::Conv1x1{256, 256}}},
                retort::Schedule{0.1, 0.9, 0.5, 0.5}, fused_optimizer};
        } else {
            return retort::Trainer{
                own_student, retort::Frozen{teacher},
                retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = temperature}},
                retort::Schedule{0.1, 0.9}, fused_optimizer};
        }
    }();
    std::vector<torch::Tensor> own_parameters = own_student->parameters();
    for (const auto& parameter : trainer.learnable_parts()->parameters()) own_parameters.push_back(parameter);
    {
        const torch::NoGradGuard no_grad;
        for (std::size_t i = 0; i < own_parameters.size(); ++i)
            own_parameters[i].copy_(hand_parameters.at(i));
    }
    return report(
        with_hints ? "(c) resnet8x4 from resnet32x4 with two hints, batch 16"
                   : "(b) resnet8x4 from resnet32x4, batch 16",
        hand_written, [&] { trainer.step(batch); }, hand_parameters, own_parameters, pairs, 1,
        python_seconds);
}

void optimizers() {
    torch::manual_seed(1);
    const auto with_gradients = [](models::ResidualNet net) {
        for (const torch::Tensor& parameter : net->parameters())
            parameter.mutable_grad() = torch::ones_like(parameter);
        return net->parameters();
    };
    torch::optim::SGD theirs(with_gradients(models::resnet_x4(8)), sgd_options);
    const auto ours = retort::Sgd{.learning_rate = 0.01, .momentum = 0.9, .weight_decay = 5e-4}.build(
        with_gradients(models::resnet_x4(8)));
    const auto step_theirs = [&] { theirs.step(); };
    const auto step_ours = [&] { ours->step(); };
    step_theirs();
    step_ours();
    const Counts their_counts = counted(step_theirs);
    const Counts our_counts = counted(step_ours);
    const Times time = compare(step_theirs, step_ours, 51, 10);
    std::printf("optimizer of resnet8x4: torch::optim::SGD and retort::Sgd\n");
    std::printf("  operators           %ld   %ld\n  tensor allocations  %ld   %ld\n", their_counts.total(),
                our_counts.total(), their_counts.allocations, our_counts.allocations);
    std::printf("  time per step       %.3f ms   %.3f ms   ratio %.3f\n", 1e3 * time.first, 1e3 * time.second,
                time.ratio);
    std::fflush(stdout);
}

// --- Python

/// Seconds of the fastest step in Python, by case; empty without a Python with torch of this version.
std::map<std::string, double> python_seconds() {
    for (const char* python : {"python3", "/usr/bin/python3"}) {
        const std::string command =
            std::string(python) + " '" RETORT_BENCH_SOURCE_DIRECTORY "/step_overhead.py' 2>/dev/null";
        std::FILE* const pipe = ::popen(command.c_str(), "r");
        if (pipe == nullptr) continue;
        std::map<std::string, double> result;
        char name[16];
        char version[64];
        double seconds = 0;
        if (std::fscanf(pipe, "torch %63s", version) == 1) {
            while (std::fscanf(pipe, "%15s %lf", name, &seconds) == 2) result[name] = seconds;
        }
        if (::pclose(pipe) == 0 && !result.empty()) {
            std::printf("Python with torch %s\n", version);
            return result;
        }
    }
    std::printf("Python: no python3 with torch found, its steps are omitted\n");
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    const int pairs = argc > 1 ? std::atoi(argv[1]) : 15;
    if (argc > 2 || pairs < 1) {
        std::fprintf(
            stderr,
            "Usage: step_overhead [PAIRS]\n\nPAIRS: how often the large cases are timed; default 15\n");
        return 2;
    }
    torch::set_num_threads(1);
    std::printf("LibTorch %s, one thread\n", TORCH_VERSION);
    auto python = python_seconds();
    const Ratios all[] = {perceptron(pairs, python["a"]), residual<false>(pairs, python["b"]),
                          residual<true>(pairs, python["c"])};
    optimizers();
    Ratios worst{1, 0};
    for (const Ratios& each : all) {
        // The ratio farthest from 1 in either direction.
        if (std::abs(each.operators - 1) >= std::abs(worst.operators - 1)) worst.operators = each.operators;
        worst.time = std::max(worst.time, each.time);
    }
    std::printf("operator ratio %.3f, time ratio %.3f\n", worst.operators, worst.time);
    return worst.operators == 1 ? 0 : 1;
}
