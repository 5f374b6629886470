// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cost of an optimizer step: the library's compared with LibTorch's, and with Python's if Debian's python3-torch
/// is installed. One thread; CPU time; steps of the two alternate, the ratio is the median over the pairs. Both
/// update equal parameters, which are compared at the end. Python's steps run between the halves of the pairs; their
/// fastest is compared with our fastest.
#include <torch/torch.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <retort/optim.hpp>

#include "../common/measure.hpp"

namespace {

using namespace measure;

struct Case {
    int tensors;
    std::int64_t elements;
};
constexpr Case cases[] = {{100, 64}, {1000, 64}, {1000, 1024}, {100, 65536}, {10, 2000000}};

std::vector<torch::Tensor> parameters(const Case& of) {
    torch::manual_seed(1);
    std::vector<torch::Tensor> result;
    for (int i = 0; i < of.tensors; ++i) {
        result.push_back(torch::randn({of.elements / 8, 8}).requires_grad_());
        result.back().mutable_grad() = torch::randn({of.elements / 8, 8});
    }
    return result;
}

/// Seconds of the fastest step in Python, by name; empty without a Python with torch.
std::map<std::string, double> python_seconds() {
    std::map<std::string, double> result;
    for (const char* python : {"python3", "/usr/bin/python3"}) {
        const std::string command =
            std::string(python) + " '" RETORT_BENCH_SOURCE_DIRECTORY "/optimizers.py' 2>/dev/null";
        std::FILE* const pipe = ::popen(command.c_str(), "r");
        if (pipe == nullptr) continue;
        char name[64];
        double seconds = 0;
        while (std::fscanf(pipe, "%63s %lf", name, &seconds) == 2) {
            const auto [found, fresh] = result.try_emplace(name, seconds);
            if (!fresh && seconds < found->second) found->second = seconds;
        }
        if (::pclose(pipe) == 0 && !result.empty()) return result;
    }
    return result;
}

void report(const char* name, const Case& of, torch::optim::Optimizer* theirs, torch::optim::Optimizer& ours,
            const std::vector<torch::Tensor>& their_parameters,
            const std::vector<torch::Tensor>& our_parameters, const std::map<std::string, double>& python) {
    const std::function<void()> step_ours = [&] { ours.step(); };
    // If LibTorch has no such optimizer, its column repeats ours.
    const std::function<void()> step_theirs = [&] { (theirs == nullptr ? ours : *theirs).step(); };
    step_ours();
    if (theirs != nullptr) step_theirs();
    const std::int64_t work = of.tensors * of.elements;
    const Times time = compare(step_theirs, step_ours, 31, work > 1000000 ? 1 : 10);
    std::printf("%-14s %4d x %-8ld  ours %9.4f ms", name, of.tensors, static_cast<long>(of.elements),
                1e3 * time.second);
    if (theirs != nullptr)
        std::printf("   LibTorch %9.4f ms   %6.1f times", 1e3 * time.first, 1 / time.ratio);
    const auto found =
        python.find(std::string(name) + "/" + std::to_string(of.tensors) + "/" + std::to_string(of.elements));
    if (found != python.end()) {
        std::printf("   Python %9.4f ms   %6.1f times", 1e3 * found->second,
                    found->second / time.fastest_second);
    }
    std::printf("\n");
    std::fflush(stdout);
    if (theirs == nullptr) return;
    for (std::size_t i = 0; i < our_parameters.size(); ++i) {
        if (!torch::allclose(our_parameters[i], their_parameters[i], 1e-4, 1e-5)) {
            std::fprintf(stderr, "%s: ended with different parameters than LibTorch's\n", name);
            std::exit(1);
        }
    }
}

}  // namespace

int main() {
    torch::set_num_threads(1);
    std::printf("LibTorch %s, one thread; median step; ratio of LibTorch's and Python's time to ours\n",
                TORCH_VERSION);
    const auto python = python_seconds();
    if (python.empty()) std::printf("Python: no python3 with torch found, its steps are omitted\n");
    for (const Case& of : cases) {
        {
            const auto a = parameters(of), b = parameters(of);
            torch::optim::SGD theirs(a, torch::optim::SGDOptions(1e-3).momentum(0.9).weight_decay(5e-4));
            const auto ours =
                retort::Sgd{.learning_rate = 1e-3, .momentum = 0.9, .weight_decay = 5e-4}.build(b);
            report("Sgd", of, &theirs, *ours, a, b, python);
        }
        {
            const auto a = parameters(of), b = parameters(of);
            torch::optim::AdamW theirs(a, torch::optim::AdamWOptions(1e-3));
            const auto ours = retort::AdamW{.learning_rate = 1e-3}.build(b);
            report("AdamW", of, &theirs, *ours, a, b, python);
        }
        {
            const auto a = parameters(of), b = parameters(of);
            torch::optim::AdamW theirs(a, torch::optim::AdamWOptions(1e-3).amsgrad(true));
            const auto ours = retort::AdamW{.learning_rate = 1e-3, .amsgrad = true}.build(b);
            report("AdamW-amsgrad", of, &theirs, *ours, a, b, python);
        }
        {
            const auto b = parameters(of);
            const auto ours = retort::Lars{.learning_rate = 1e-3, .weight_decay = 5e-4}.build(b);
            report("Lars", of, nullptr, *ours, {}, b, python);
        }
    }
    return 0;
}
