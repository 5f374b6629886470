// SPDX-License-Identifier: BSL-1.0
/// \file
/// Wide residual networks for CIFAR: WRN-d-k, of depth 6n + 4.
///
/// Source: Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016.
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <array>
#include <cstdint>
#include <stdexcept>

#include "image_outputs.hpp"

namespace models {

/// Normalization and activation before each of two 3 x 3 convolutions, and the input added; if the width changes, the
/// normalized input through a 1 x 1 convolution.
struct WideBlockImpl : torch::nn::Module {
    WideBlockImpl(std::int64_t from, std::int64_t to, std::int64_t stride)
        : norm1(register_module("norm1", torch::nn::BatchNorm2d(from))),
          conv1(register_module(
              "conv1", torch::nn::Conv2d(
                           torch::nn::Conv2dOptions(from, to, 3).stride(stride).padding(1).bias(false)))),
          norm2(register_module("norm2", torch::nn::BatchNorm2d(to))),
          conv2(register_module(
              "conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(to, to, 3).padding(1).bias(false)))) {
        if (from == to) return;
        shortcut = register_module(
            "shortcut", torch::nn::Conv2d(torch::nn::Conv2dOptions(from, to, 1).stride(stride).bias(false)));
    }

    at::Tensor forward(const at::Tensor& x) {
        const at::Tensor active = norm1(x).relu_();
        const at::Tensor inner = norm2(conv1(active)).relu_();
        return conv2(inner) + (shortcut.is_empty() ? x : shortcut(active));
    }

    torch::nn::BatchNorm2d norm1;
    torch::nn::Conv2d conv1;
    torch::nn::BatchNorm2d norm2;
    torch::nn::Conv2d conv2;
    torch::nn::Conv2d shortcut{nullptr};
};
TORCH_MODULE(WideBlock);

struct WideResidualOptions {
    std::int64_t depth = 16;  ///< 6n + 4
    std::int64_t width = 2;   ///< the stages have 16, 32 and 64 times as many channels
    std::int64_t classes = 100;
    std::int64_t channels = 3;  ///< of the images
};

struct WideResidualNetImpl : torch::nn::Module {
    explicit WideResidualNetImpl(const WideResidualOptions& options = {}) {
        if (options.depth < 10 || (options.depth - 4) % 6 != 0) {
            throw std::invalid_argument("WideResidualNet: expected a depth of 6n + 4, found " +
                                        std::to_string(options.depth));
        }
        const std::int64_t blocks = (options.depth - 4) / 6;
        stem = register_module(
            "stem",
            torch::nn::Conv2d(torch::nn::Conv2dOptions(options.channels, 16, 3).padding(1).bias(false)));
        std::int64_t width = 16;
        for (std::size_t i = 0; i < 3; ++i) {
            const std::int64_t wide = (std::int64_t{16} << i) * options.width;
            torch::nn::Sequential stage;
            for (std::int64_t block = 0; block < blocks; ++block) {
                stage->push_back(WideBlock(width, wide, i > 0 && block == 0 ? 2 : 1));
                width = wide;
            }
            stages[i] = register_module("stage" + std::to_string(i + 1), stage);
        }
        norm = register_module("norm", torch::nn::BatchNorm2d(width));
        classifier = register_module("classifier", torch::nn::Linear(width, options.classes));
        for (const auto& module : modules(/*include_self=*/false)) {
            if (auto* convolution = module->as<torch::nn::Conv2d>()) {
                torch::nn::init::kaiming_normal_(convolution->weight, 0.0, torch::kFanOut, torch::kReLU);
            }
        }
        torch::nn::init::zeros_(classifier->bias);
    }

    ImageOutputs forward(const at::Tensor& images) {
        ImageOutputs outputs;
        outputs.stem = stem(images);
        outputs.stages[0] = stages[0]->forward(outputs.stem);
        outputs.stages[1] = stages[1]->forward(outputs.stages[0]);
        outputs.stages[2] = stages[2]->forward(outputs.stages[1]);
        outputs.pooled = norm(outputs.stages[2]).relu_().mean({2, 3});
        outputs.logits = classifier(outputs.pooled);
        return outputs;
    }

    torch::nn::Conv2d stem{nullptr};
    std::array<torch::nn::Sequential, 3> stages{nullptr, nullptr, nullptr};
    torch::nn::BatchNorm2d norm{nullptr};
    torch::nn::Linear classifier{nullptr};
};
TORCH_MODULE(WideResidualNet);

/// WRN-16-2, WRN-40-2, ...
inline WideResidualNet wide_resnet(std::int64_t depth, std::int64_t width, std::int64_t classes = 100) {
    return WideResidualNet(WideResidualOptions{.depth = depth, .width = width, .classes = classes});
}

}  // namespace models
