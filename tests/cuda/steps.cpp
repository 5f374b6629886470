// SPDX-License-Identifier: BSL-1.0
/// \file
/// Steps per second of the compositions of examples 01 and 03 on a device, and their first losses beside those of the
/// CPU: steps <device> <seconds of each case>. Writes a line of JSON for each case. `steps.py` has the same steps in
/// Python.
#include <torch/torch.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <models/residual.hpp>
#include <models/small_cnn.hpp>
#include <retort/retort.hpp>

namespace {

using Batch = std::pair<torch::Tensor, torch::Tensor>;

Batch random_batch(std::vector<std::int64_t> sizes, std::int64_t classes) {
    torch::manual_seed(2);
    auto images = torch::randn(sizes);
    return {std::move(images), torch::randint(classes, {sizes[0]}, torch::kLong)};
}

/// A teacher of 32 and a student of 16 channels, with soft targets.
struct Quickstart {
    static constexpr const char* name = "01_quickstart";
    static Batch batch() { return random_batch({64, 1, 28, 28}, 10); }
    template <class Precision>
    static auto trainer(const std::string& device, Precision precision) {
        torch::manual_seed(1);
        models::SmallCnn teacher(models::SmallCnnOptions{.width = 32}),
            student(models::SmallCnnOptions{.width = 16});
        return retort::Trainer{
            student,
            retort::Frozen{teacher},
            retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 4.0}},
            retort::Schedule{0.1, 0.9},
            retort::Sgd{.learning_rate = 0.01, .momentum = 0.9, .weight_decay = 5e-4},
            precision,
            retort::TrainerOptions{.device = device}};
    }
};

/// resnet8x4 from resnet32x4, with soft targets and two hints.
struct Features {
    static constexpr const char* name = "03_features";
    static Batch batch() { return random_batch({64, 3, 32, 32}, 100); }
    template <class Precision>
    static auto trainer(const std::string& device, Precision precision) {
        using models::ImageOutputs;
        torch::manual_seed(1);
        auto teacher = models::resnet_x4(32), student = models::resnet_x4(8);
        return retort::Trainer{
            student,
            retort::Frozen{teacher},
            retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 4.0},
                              retort::Hint{retort::tap<&ImageOutputs::stages, 1>,
                                           retort::tap<&ImageOutputs::stages, 1>, retort::Conv1x1{}},
                              retort::Hint{retort::tap<&ImageOutputs::stages, 2>,
                                           retort::tap<&ImageOutputs::stages, 2>, retort::Conv1x1{}}},
            retort::Schedule{0.1, 0.9, 0.5, 0.5},
            retort::Sgd{.learning_rate = 0.01, .momentum = 0.9, .weight_decay = 5e-4},
            precision,
            retort::TrainerOptions{.device = device}};
    }
};

/// The losses of the first steps.
template <class Case>
std::vector<double> first_losses(const std::string& device) {
    auto trainer = Case::trainer(device, retort::Float32{});
    const Batch on_cpu = Case::batch();
    const Batch batch{on_cpu.first.to(trainer.device()), on_cpu.second.to(trainer.device())};
    std::vector<double> result;
    for (int i = 0; i < 3; ++i) result.push_back(trainer.step(batch).losses.total.template item<double>());
    return result;
}

template <class Case, class Precision>
void measure(const std::string& device, double seconds, const char* precision_name, Precision precision) {
    auto trainer = Case::trainer(device, precision);
    const Batch on_cpu = Case::batch();
    const Batch batch{on_cpu.first.to(trainer.device()), on_cpu.second.to(trainer.device())};
    const auto steps = [&](int count) {
        torch::Tensor loss;
        for (int i = 0; i < count; ++i) loss = trainer.step(batch).losses.total;
        return loss.template item<double>();  // waits for the device
    };
    const int at_once = retort::device(device).is_cpu() ? 1 : 20;
    steps(at_once);
    const auto begin = std::chrono::steady_clock::now();
    double elapsed = 0;
    int count = 0;
    double loss = 0;
    do {
        loss = steps(at_once);
        count += at_once;
        elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    } while (elapsed < seconds);
    std::printf("{\"case\": \"%s\", \"how\": \"retort, %s\", \"steps_per_second\": %.2f, \"loss\": %.6g}\n",
                Case::name, precision_name, count / elapsed, loss);
    std::fflush(stdout);
}

/// \returns whether the losses of the device are those of the CPU, up to rounding of float32
template <class Case>
bool run(const std::string& device, double seconds) {
    const auto expected = first_losses<Case>("cpu"), found = first_losses<Case>(device);
    double difference = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
        difference = std::max(difference, std::abs(found[i] - expected[i]) / std::abs(expected[i]));
    const bool agree = difference < 1e-4;  // false for NaN as well
    std::printf(
        "{\"case\": \"%s\", \"how\": \"losses of 3 steps beside the CPU\", \"difference\": %.3g, \"agree\": "
        "%s}\n",
        Case::name, difference, agree ? "true" : "false");
    measure<Case>(device, seconds, "float32", retort::Float32{});
    measure<Case>(device, seconds, "bfloat16", retort::Bfloat16{});
    if (retort::device(device).is_cuda()) measure<Case>(device, seconds, "float16", retort::Float16{});
    return agree;
}

}  // namespace

int main(int argc, char** arguments) {
    if (argc != 3) {
        std::fprintf(stderr, "steps <device> <seconds of each case>\n");
        return 2;
    }
    const std::string device = arguments[1];
    const double seconds = std::strtod(arguments[2], nullptr);
    try {
        const bool first = run<Quickstart>(device, seconds), second = run<Features>(device, seconds);
        return first && second ? 0 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "steps: %s\n", error.what());
        return 1;
    }
}
