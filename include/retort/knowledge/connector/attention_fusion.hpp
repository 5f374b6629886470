// SPDX-License-Identifier: BSL-1.0
/// \file
/// Attention-based fusion: a map and the residual of the deeper layers, weighted position by position.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/sigmoid.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/pimpl.h>

#include <utility>

#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/connector/resize.hpp>

namespace retort {

/// Attention-based fusion (ABF) of ReviewKD.
///
/// Formula: \f$ x = \mathrm{BN}(W_1 F) \f$; with a residual y from the next deeper layer, enlarged to the
/// size of x, \f$ x \leftarrow a_1 x + a_2 y, \; (a_1, a_2) = \sigma(W_a [x, y] + b) \f$ at each position;
/// then at the target size the output \f$ \mathrm{BN}(W_2 * x) \f$ with a 3x3 kernel, and the residual x.
/// Source: Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, Fig. 3a.
class AttentionFusionImpl : public torch::nn::Module {
  public:
    /// \param fuse whether there is a residual; the deepest layer has none
    AttentionFusionImpl(std::int64_t in, std::int64_t middle, std::int64_t out, bool fuse)
        : torch::nn::Module("AttentionFusion"),
          enter_(register_module("enter",
                                 ConvolutionConnector(torch::nn::Conv2dOptions(in, middle, 1).bias(false),
                                                      /*batch_norm=*/true, /*relu=*/false))),
          leave_(register_module(
              "leave", ConvolutionConnector(torch::nn::Conv2dOptions(middle, out, 3).padding(1).bias(false),
                                            /*batch_norm=*/true, /*relu=*/false))) {
        if (fuse) {
            attention_ =
                register_module("attention", torch::nn::Conv2d(torch::nn::Conv2dOptions(2 * middle, 2, 1)));
        }
    }
    /// The output and the residual for the next shallower layer; both of the given height and width.
    /// \param residual [batch, middle, ...]; unused without fusion
    std::pair<at::Tensor, at::Tensor> forward(const at::Tensor& feature, const at::Tensor& residual,
                                              std::int64_t height, std::int64_t width) {
        at::Tensor mixed = enter_->forward(feature);
        if (!attention_.is_empty()) {
            const at::Tensor deeper =
                detail::resampled(residual, mixed.size(2), mixed.size(3), Resampling::nearest);
            const at::Tensor share = at::sigmoid(attention_->forward(at::cat({mixed, deeper}, 1)));
            mixed = mixed * share.narrow(1, 0, 1) + deeper * share.narrow(1, 1, 1);
        }
        mixed = detail::resampled(mixed, height, width, Resampling::nearest);
        return {leave_->forward(mixed), mixed};
    }

  private:
    ConvolutionConnector enter_, leave_;
    torch::nn::Conv2d attention_{nullptr};
};
/// Holder of `AttentionFusionImpl`.
TORCH_MODULE(AttentionFusion);

}  // namespace retort
