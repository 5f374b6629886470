// SPDX-License-Identifier: BSL-1.0
/// \file
/// Residual networks for CIFAR, of depth 6n + 2.
///
/// Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2. The
/// "x4" networks are those of the CIFAR-100 protocol of contrastive representation distillation (Tian,
/// Krishnan, Isola, ICLR 2020): stages four times as wide, the stem twice as wide.
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/functional/pooling.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>
#include <torch/nn/pimpl.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "image_outputs.hpp"

namespace models {

/// Two 3 x 3 convolutions with batch normalization, and the input added, through a 1 x 1 convolution if size or width
/// change.
struct ResidualBlockImpl : torch::nn::Module {
    ResidualBlockImpl(std::int64_t from, std::int64_t to, std::int64_t stride)
        : conv1(register_module("conv1", torch::nn::Conv2d(convolution(from, to, 3, stride)))),
          norm1(register_module("norm1", torch::nn::BatchNorm2d(to))),
          conv2(register_module("conv2", torch::nn::Conv2d(convolution(to, to, 3, 1)))),
          norm2(register_module("norm2", torch::nn::BatchNorm2d(to))) {
        if (stride == 1 && from == to) return;
        shortcut = register_module("shortcut", torch::nn::Conv2d(convolution(from, to, 1, stride)));
        shortcut_norm = register_module("shortcut_norm", torch::nn::BatchNorm2d(to));
    }

    at::Tensor forward(const at::Tensor& x) {
        const at::Tensor inner = norm1(conv1(x)).relu_();
        const at::Tensor outer = norm2(conv2(inner));
        return (outer + (shortcut.is_empty() ? x : shortcut_norm(shortcut(x)))).relu_();
    }

    torch::nn::Conv2d conv1;
    torch::nn::BatchNorm2d norm1;
    torch::nn::Conv2d conv2;
    torch::nn::BatchNorm2d norm2;
    torch::nn::Conv2d shortcut{nullptr};
    torch::nn::BatchNorm2d shortcut_norm{nullptr};

  private:
    static torch::nn::Conv2dOptions convolution(std::int64_t from, std::int64_t to, std::int64_t kernel,
                                                std::int64_t stride) {
        return torch::nn::Conv2dOptions(from, to, kernel).stride(stride).padding(kernel / 2).bias(false);
    }
};
TORCH_MODULE(ResidualBlock);

/// Appends some blocks; the first of them changes size and width.
inline void add_residual_stage(torch::nn::Sequential& network, std::int64_t from, std::int64_t to,
                               std::int64_t blocks, std::int64_t stride) {
    for (std::int64_t block = 0; block < blocks; ++block)
        network->push_back(ResidualBlock(block == 0 ? from : to, to, block == 0 ? stride : 1));
}
/// A stage on its own.
inline torch::nn::Sequential residual_stage(std::int64_t from, std::int64_t to, std::int64_t blocks,
                                            std::int64_t stride) {
    torch::nn::Sequential stage;
    add_residual_stage(stage, from, to, blocks, stride);
    return stage;
}

/// Initializes convolutions as He et al. do.
inline void begin_residual(torch::nn::Module& network) {
    for (const auto& module : network.modules(/*include_self=*/false)) {
        if (auto* convolution = module->as<torch::nn::Conv2d>())
            torch::nn::init::kaiming_normal_(convolution->weight, 0.0, torch::kFanOut, torch::kReLU);
    }
}

struct ResidualOptions {
    std::int64_t depth = 20;                            ///< 6n + 2
    std::int64_t stem = 16;                             ///< channels of the first convolution
    std::array<std::int64_t, 3> stages = {16, 32, 64};  ///< channels of the stages
    std::int64_t classes = 100;
    std::int64_t channels = 3;  ///< of the images
};

struct ResidualNetImpl : torch::nn::Module {
    explicit ResidualNetImpl(const ResidualOptions& options = {}) {
        if (options.depth < 8 || (options.depth - 2) % 6 != 0) {
            throw std::invalid_argument("ResidualNet: expected a depth of 6n + 2, found " +
                                        std::to_string(options.depth));
        }
        const std::int64_t blocks = (options.depth - 2) / 6;
        stem = register_module(
            "stem", torch::nn::Conv2d(
                        torch::nn::Conv2dOptions(options.channels, options.stem, 3).padding(1).bias(false)));
        norm = register_module("norm", torch::nn::BatchNorm2d(options.stem));
        std::int64_t width = options.stem;
        for (std::size_t i = 0; i < 3; ++i) {
            stages[i] = register_module("stage" + std::to_string(i + 1),
                                        residual_stage(width, options.stages[i], blocks, i > 0 ? 2 : 1));
            width = options.stages[i];
        }
        classifier = register_module("classifier", torch::nn::Linear(width, options.classes));
        begin_residual(*this);
    }

    ImageOutputs forward(const at::Tensor& images) {
        ImageOutputs outputs;
        outputs.stem = norm(stem(images)).relu_();
        outputs.stages[0] = stages[0]->forward(outputs.stem);
        outputs.stages[1] = stages[1]->forward(outputs.stages[0]);
        outputs.stages[2] = stages[2]->forward(outputs.stages[1]);
        outputs.pooled = outputs.stages[2].mean({2, 3});
        outputs.logits = classifier(outputs.pooled);
        return outputs;
    }

    torch::nn::Conv2d stem{nullptr};
    torch::nn::BatchNorm2d norm{nullptr};
    std::array<torch::nn::Sequential, 3> stages{nullptr, nullptr, nullptr};
    torch::nn::Linear classifier{nullptr};
};
TORCH_MODULE(ResidualNet);

/// The auxiliary heads of hierarchical self-supervised augmented distillation, one after each stage: a copy of the
/// remaining stages, with as many blocks (after the last stage one more, which keeps the size), average pooling and a
/// classifier.
/// \param classes of the heads: those of the labels times the views
inline std::vector<torch::nn::Sequential> residual_heads(const ResidualOptions& options,
                                                         std::int64_t classes) {
    const std::int64_t blocks = (options.depth - 2) / 6;
    std::vector<torch::nn::Sequential> heads;
    for (std::size_t i = 0; i < 3; ++i) {
        torch::nn::Sequential head;
        std::int64_t width = options.stages[i];
        for (std::size_t stage = i + 1; stage < 3; ++stage) {
            add_residual_stage(head, width, options.stages[stage], blocks, 2);
            width = options.stages[stage];
        }
        if (i == 2) add_residual_stage(head, width, width, blocks, 1);
        head->push_back(torch::nn::AdaptiveAvgPool2d(torch::nn::AdaptiveAvgPool2dOptions(1)));
        head->push_back(torch::nn::Flatten());
        head->push_back(torch::nn::Linear(width, classes));
        begin_residual(*head);
        heads.push_back(std::move(head));
    }
    return heads;
}

/// resnet20, resnet32, resnet56, ...: stages of 16, 32 and 64 channels.
inline ResidualNet resnet(std::int64_t depth, std::int64_t classes = 100) {
    return ResidualNet(ResidualOptions{.depth = depth, .classes = classes});
}

/// resnet8x4, resnet32x4: stages of 64, 128 and 256 channels after a stem of 32.
inline ResidualNet resnet_x4(std::int64_t depth, std::int64_t classes = 100) {
    return ResidualNet(
        ResidualOptions{.depth = depth, .stem = 32, .stages = {64, 128, 256}, .classes = classes});
}

}  // namespace models
