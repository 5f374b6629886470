// SPDX-License-Identifier: BSL-1.0
/// \file
/// The small networks of information flow modeling.
///
/// Source: Passalis, Tzelepi, Tefas, "Heterogeneous Knowledge Distillation Using Information Flow Modeling", CVPR
/// 2020: CNN1 and its auxiliary teacher CNN1-A, with the sizes of the authors' code.
#pragma once

#include <ATen/ops/max_pool2d.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace models {

/// The outputs of the networks of information flow modeling: the logits and four intermediate layers.
struct FlowOutputs {
    at::Tensor logits;                 ///< [batch, classes]
    std::array<at::Tensor, 4> layers;  ///< [batch, ...], from shallow to deep; the last is the representation
};

struct FlowCnnOptions {
    std::int64_t width =
        8;  ///< channels of the first convolution; the others have twice and four times as many
    std::int64_t classes = 10;
};

/// Three unpadded 3 x 3 convolutions, each with batch normalization and pooling by 2; a hidden layer of eight times
/// the width. For 32 x 32 color images. Layers: width x 15 x 15, 2 width x 6 x 6, 4 width x 2 x 2, 8 width.
struct FlowCnnImpl : torch::nn::Module {
    explicit FlowCnnImpl(const FlowCnnOptions& options = {}) {
        std::int64_t from = 3;
        for (std::size_t i = 0; i < 3; ++i) {
            const std::int64_t to = options.width << i;
            const std::string number = std::to_string(i + 1);
            convolutions[i] =
                register_module("conv" + number, torch::nn::Conv2d(torch::nn::Conv2dOptions(from, to, 3)));
            norms[i] = register_module("norm" + number, torch::nn::BatchNorm2d(to));
            from = to;
        }
        hidden = register_module("hidden", torch::nn::Linear(4 * from, 2 * from));
        classifier = register_module("classifier", torch::nn::Linear(2 * from, options.classes));
    }

    FlowOutputs forward(const at::Tensor& images) {
        FlowOutputs outputs;
        at::Tensor x = images;
        for (std::size_t i = 0; i < 3; ++i) {
            x = at::max_pool2d(norms[i](convolutions[i](x)).relu_(), {2, 2});
            outputs.layers[i] = x;
        }
        outputs.layers[3] = hidden(x.flatten(1)).relu();
        outputs.logits = classifier(outputs.layers[3]);
        return outputs;
    }

    std::array<torch::nn::Conv2d, 3> convolutions{nullptr, nullptr, nullptr};
    std::array<torch::nn::BatchNorm2d, 3> norms{nullptr, nullptr, nullptr};
    torch::nn::Linear hidden{nullptr};
    torch::nn::Linear classifier{nullptr};
};
TORCH_MODULE(FlowCnn);

/// The student of the paper: 15,050 parameters for 10 classes.
inline FlowCnn cnn1(std::int64_t classes = 10) {
    return FlowCnn(FlowCnnOptions{.width = 8, .classes = classes});
}
/// Its auxiliary teacher: 57,994 parameters for 10 classes.
inline FlowCnn cnn1_auxiliary(std::int64_t classes = 10) {
    return FlowCnn(FlowCnnOptions{.width = 16, .classes = classes});
}

}  // namespace models
