// SPDX-License-Identifier: BSL-1.0
/// \file
/// The outputs of the residual networks of the examples.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <array>
#include <cstdint>

namespace models {

/// The outputs of a residual network, including intermediate layers. For 32 x 32 images:
struct ImageOutputs {
    at::Tensor logits;  ///< [batch, classes]
    at::Tensor stem;    ///< [batch, stem width, 32, 32]: after the first convolution
    std::array<at::Tensor, 3>
        stages;         ///< [batch, stage width, 32 / 2^i, 32 / 2^i]: after each of the three stages
    at::Tensor pooled;  ///< [batch, width of the last stage]: the classifier's input
};

/// The number of trainable parameters.
inline std::int64_t parameter_count(const torch::nn::Module& module) {
    std::int64_t count = 0;
    for (const at::Tensor& parameter : module.parameters()) count += parameter.numel();
    return count;
}

}  // namespace models
