// SPDX-License-Identifier: BSL-1.0
/// \file
/// The teacher of information flow modeling: ResNet-18 for CIFAR with pre-activation blocks.
///
/// Source: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, in the form of the
/// code of Passalis, Tzelepi, Tefas (CVPR 2020): normalization and activation in the stem too, none before the
/// pooling, and a shortcut that takes the activated input.
#pragma once

#include <ATen/ops/avg_pool2d.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "flow_cnn.hpp"

namespace models {

/// Normalization and activation before each of two 3 x 3 convolutions; the activated input is added, through a 1 x 1
/// convolution if size or width change.
struct PreActivationBlockImpl : torch::nn::Module {
    PreActivationBlockImpl(std::int64_t from, std::int64_t to, std::int64_t stride)
        : norm1(register_module("norm1", torch::nn::BatchNorm2d(from))),
          conv1(register_module("conv1", torch::nn::Conv2d(convolution(from, to, 3, stride)))),
          norm2(register_module("norm2", torch::nn::BatchNorm2d(to))),
          conv2(register_module("conv2", torch::nn::Conv2d(convolution(to, to, 3, 1)))) {
        if (stride == 1 && from == to) return;
        shortcut = register_module("shortcut", torch::nn::Conv2d(convolution(from, to, 1, stride)));
    }

    at::Tensor forward(const at::Tensor& x) {
        const at::Tensor active = norm1(x).relu_();
        const at::Tensor inner = norm2(conv1(active)).relu_();
        return conv2(inner) + (shortcut.is_empty() ? active : shortcut(active));
    }

    torch::nn::BatchNorm2d norm1;
    torch::nn::Conv2d conv1;
    torch::nn::BatchNorm2d norm2;
    torch::nn::Conv2d conv2;
    torch::nn::Conv2d shortcut{nullptr};

  private:
    static torch::nn::Conv2dOptions convolution(std::int64_t from, std::int64_t to, std::int64_t kernel,
                                                std::int64_t stride) {
        return torch::nn::Conv2dOptions(from, to, kernel).stride(stride).padding(kernel / 2).bias(false);
    }
};
TORCH_MODULE(PreActivationBlock);

struct PreActivationOptions {
    std::int64_t width = 64;  ///< channels of stem and first stage; each later stage doubles them
    std::int64_t blocks = 2;  ///< in each of the four stages
    std::int64_t classes = 10;
};

/// With the default options 11,171,274 parameters. The layers are the four stages, averaged to 4 x 4 and the last one
/// to a vector.
struct PreActivationNetImpl : torch::nn::Module {
    explicit PreActivationNetImpl(const PreActivationOptions& options = {}) {
        stem = register_module(
            "stem", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, options.width, 3).padding(1).bias(false)));
        norm = register_module("norm", torch::nn::BatchNorm2d(options.width));
        std::int64_t from = options.width;
        for (std::size_t i = 0; i < 4; ++i) {
            const std::int64_t to = options.width << i;
            torch::nn::Sequential stage;
            for (std::int64_t block = 0; block < options.blocks; ++block) {
                stage->push_back(PreActivationBlock(from, to, i > 0 && block == 0 ? 2 : 1));
                from = to;
            }
            stages[i] = register_module("stage" + std::to_string(i + 1), stage);
        }
        classifier = register_module("classifier", torch::nn::Linear(from, options.classes));
    }

    FlowOutputs forward(const at::Tensor& images) {
        FlowOutputs outputs;
        // On CPUs 20 % faster than channels-first.
        at::Tensor x = norm(stem(images.contiguous(at::MemoryFormat::ChannelsLast))).relu_();
        for (std::size_t i = 0; i < 4; ++i) {
            x = stages[i]->forward(x);
            outputs.layers[i] = at::avg_pool2d(x, i == 0 ? 8 : 4);
        }
        outputs.layers[3] = outputs.layers[3].flatten(1);
        outputs.logits = classifier(outputs.layers[3]);
        return outputs;
    }

    torch::nn::Conv2d stem{nullptr};
    torch::nn::BatchNorm2d norm{nullptr};
    std::array<torch::nn::Sequential, 4> stages{nullptr, nullptr, nullptr, nullptr};
    torch::nn::Linear classifier{nullptr};
};
TORCH_MODULE(PreActivationNet);

}  // namespace models
