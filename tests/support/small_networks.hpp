// SPDX-License-Identifier: BSL-1.0
/// \file
/// Networks and data for many tests.
#pragma once

#include <retort_test.hpp>
#include <test_device.hpp>

#if __has_include(<catch2/catch_all.hpp>)
using Catch::Approx;  // Catch2 2 has it without a namespace
#endif

namespace retort_test {

/// Logits from vectors of 4.
struct PerceptronImpl : torch::nn::Module {
    explicit PerceptronImpl(std::int64_t hidden = 8, double dropout = 0.0)
        : first(register_module("first", torch::nn::Linear(4, hidden))),
          drop(register_module("drop", torch::nn::Dropout(dropout))),
          last(register_module("last", torch::nn::Linear(hidden, 3))) {
        to(device());
    }
    torch::Tensor forward(const torch::Tensor& input) {
        return last->forward(drop->forward(torch::relu(first->forward(input))));
    }
    torch::nn::Linear first;
    torch::nn::Dropout drop;
    torch::nn::Linear last;
};
TORCH_MODULE(Perceptron);

/// The outputs of `ConvNet`.
struct ConvOutputs {
    torch::Tensor logits, early, late;
};

/// Logits and two feature maps from 8x8 images of one channel, with batch norm and dropout.
struct ConvNetImpl : torch::nn::Module {
    explicit ConvNetImpl(std::int64_t width = 4, double dropout = 0.0)
        : first(register_module("first", conv(1, width))),
          norm(register_module("norm", torch::nn::BatchNorm2d(width))),
          second(register_module("second", conv(width, 2 * width))),
          drop(register_module("drop", torch::nn::Dropout(dropout))),
          last(register_module("last", torch::nn::Linear(2 * width, 3))) {
        to(device());
    }
    ConvOutputs forward(const torch::Tensor& images) {
        auto early = torch::relu(norm->forward(first->forward(images)));
        auto late = torch::relu(second->forward(early));
        auto logits = last->forward(drop->forward(late.mean({2, 3})));
        return {std::move(logits), std::move(early), std::move(late)};
    }
    static torch::nn::Conv2d conv(std::int64_t in, std::int64_t out) {
        return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1));
    }
    torch::nn::Conv2d first;
    torch::nn::BatchNorm2d norm;
    torch::nn::Conv2d second;
    torch::nn::Dropout drop;
    torch::nn::Linear last;
};
TORCH_MODULE(ConvNet);

using PairBatch = std::pair<torch::Tensor, torch::Tensor>;

/// Batches of vectors of 4 with classes below 3; their class can be learned.
inline std::vector<PairBatch> vectors(std::int64_t batches, std::int64_t samples = 6,
                                      std::uint64_t seed = 7) {
    auto generator = at::detail::createCPUGenerator(seed);
    std::vector<PairBatch> result;
    for (std::int64_t i = 0; i < batches; ++i) {
        auto input = torch::randn({samples, 4}, generator);
        auto target = input.slice(1, 0, 3).argmax(1);
        result.emplace_back(on_device(input), on_device(target));
    }
    return result;
}

/// Batches of 8x8 images of one channel with classes below 3.
inline std::vector<PairBatch> images(std::int64_t batches, std::int64_t samples = 6, std::uint64_t seed = 7) {
    auto generator = at::detail::createCPUGenerator(seed);
    std::vector<PairBatch> result;
    for (std::int64_t i = 0; i < batches; ++i) {
        auto input = torch::randn({samples, 1, 8, 8}, generator);
        auto target = torch::randint(0, 3, {samples}, generator, torch::kLong);
        result.emplace_back(on_device(input), on_device(target));
    }
    return result;
}

/// Copies of a module's parameters and buffers.
inline std::vector<torch::Tensor> state(const torch::nn::Module& module) {
    std::vector<torch::Tensor> result;
    for (const auto& each : module.parameters()) result.push_back(each.detach().clone());
    for (const auto& each : module.buffers()) result.push_back(each.detach().clone());
    return result;
}

/// Whether both states are equal in every bit.
inline Comparison same(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
    if (a.size() != b.size()) {
        std::ostringstream text;
        text << a.size() << " tensors and " << b.size();
        return Comparison(std::move(text).str());
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (auto each = same(a[i], b[i]); !each) {
            std::ostringstream text;
            text << "tensor " << i << ": " << each;
            return Comparison(std::move(text).str());
        }
    }
    return Comparison("");
}

/// Copies the parameters and buffers of one module to another of the same type.
inline void copy_state(const torch::nn::Module& from, torch::nn::Module& to) {
    const torch::NoGradGuard no_grad;
    const auto values = state(from);
    std::size_t i = 0;
    for (auto& each : to.parameters()) each.copy_(values[i++]);
    for (auto& each : to.buffers()) each.copy_(values[i++]);
}

/// Calls `function`, and returns the message of the error of type `E` that it throws; empty if it throws none.
template <class E, class Function>
std::string words_of(Function&& function) {
    try {
        function();
    } catch (const E& error) {
        return error.what();
    }
    return {};
}

/// Whether `text` contains all of the `parts`.
template <class... Parts>
bool holds(const std::string& text, const Parts&... parts) {
    return !text.empty() && ((text.find(parts) != std::string::npos) && ...);
}

}  // namespace retort_test
