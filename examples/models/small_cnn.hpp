// SPDX-License-Identifier: BSL-1.0
/// \file
/// A small network for small images; a teacher if wide, a student if narrow.
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

namespace models {

struct SmallCnnOptions {
    std::int64_t width = 32;  ///< channels of the first convolution; the others have twice as many
    std::int64_t classes = 10;
    std::int64_t channels = 1;  ///< of the images
};

/// Three convolutions that halve the map, and a classifier on global average pooling.
struct SmallCnnImpl : torch::nn::Module {
    explicit SmallCnnImpl(const SmallCnnOptions& options = {})
        : conv1(register_module("conv1", convolution(options.channels, options.width))),
          norm1(register_module("norm1", torch::nn::BatchNorm2d(options.width))),
          conv2(register_module("conv2", convolution(options.width, 2 * options.width))),
          norm2(register_module("norm2", torch::nn::BatchNorm2d(2 * options.width))),
          conv3(register_module("conv3", convolution(2 * options.width, 2 * options.width))),
          norm3(register_module("norm3", torch::nn::BatchNorm2d(2 * options.width))),
          classifier(register_module("classifier", torch::nn::Linear(2 * options.width, options.classes))) {}

    at::Tensor forward(const at::Tensor& images) {
        at::Tensor x = norm1(conv1(images)).relu_();
        x = norm2(conv2(x)).relu_();
        x = norm3(conv3(x)).relu_();
        return classifier(x.mean({2, 3}));
    }

    torch::nn::Conv2d conv1;
    torch::nn::BatchNorm2d norm1;
    torch::nn::Conv2d conv2;
    torch::nn::BatchNorm2d norm2;
    torch::nn::Conv2d conv3;
    torch::nn::BatchNorm2d norm3;
    torch::nn::Linear classifier;

  private:
    static torch::nn::Conv2d convolution(std::int64_t from, std::int64_t to) {
        return torch::nn::Conv2d(torch::nn::Conv2dOptions(from, to, 3).stride(2).padding(1).bias(false));
    }
};
TORCH_MODULE(SmallCnn);

}  // namespace models
