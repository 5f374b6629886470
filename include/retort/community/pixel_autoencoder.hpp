// SPDX-License-Identifier: BSL-1.0
/// \file
/// A variational autoencoder of images whose pixels are classes.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/relu.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// Sizes of a `PixelAutoencoder`.
struct PixelAutoencoderOptions {
    std::int64_t channels = 1;
    std::int64_t size = 32;    ///< height and width of the images; a power of two, at least 8
    std::int64_t latent = 16;  ///< values that describe an image
    std::int64_t width = 16;   ///< channels of the first convolution; even
    std::int64_t levels = 256;

    void check() const {
        using namespace ::retort::detail;
        check_range("PixelAutoencoder", "a number of channels", channels, at_least(1));
        check_range("PixelAutoencoder", "a latent size", latent, at_least(1));
        check_range("PixelAutoencoder", "a number of levels", levels, at_least(2));
        if (size < 8 || (size & (size - 1)) != 0)
            throw ConfigError(
                concat("PixelAutoencoder: expected a size that is a power of two, at least 8, found ", size));
        if (width < 2 || width % 2 != 0)
            throw ConfigError(
                concat("PixelAutoencoder: expected an even width of at least 2, found ", width));
    }
};

/// The distribution of the latent values of images, [images, latent] each.
struct Latent {
    at::Tensor mean, log_variance;
};

/// Convolutions of stride 2 with batch norm on the way down, transposed ones on the way up, a categorical distribution of
/// `levels` values for every pixel: the network of the released code of "Likelihood Regret".
/// Shapes: images [batch, channels, size, size] in [0, 1]; logits [batch, levels, channels, size, size].
class PixelAutoencoderImpl : public torch::nn::Module {
  public:
    explicit PixelAutoencoderImpl(const PixelAutoencoderOptions& options) : options_(options) {
        options_.check();
        using Down = torch::nn::Conv2dOptions;
        using Up = torch::nn::ConvTranspose2dOptions;
        std::int64_t width = options_.width;
        add_down(torch::nn::Conv2d(Down(options_.channels, width, 4).stride(2).padding(1).bias(false)),
                 width);
        for (std::int64_t size = options_.size / 2; size > 4; size /= 2, width *= 2)
            add_down(torch::nn::Conv2d(Down(width, 2 * width, 4).stride(2).padding(1).bias(false)),
                     2 * width);
        mean_ = register_module("mean", torch::nn::Conv2d(Down(width, options_.latent, 4)));
        log_variance_ = register_module("log_variance", torch::nn::Conv2d(Down(width, options_.latent, 4)));
        width = options_.width / 2;
        for (std::int64_t size = 4; size != options_.size; size *= 2) width *= 2;
        add_up(torch::nn::ConvTranspose2d(Up(options_.latent, width, 4).bias(false)), width);
        for (std::int64_t size = 4; size < options_.size / 2; size *= 2, width /= 2)
            add_up(torch::nn::ConvTranspose2d(Up(width, width / 2, 4).stride(2).padding(1).bias(false)),
                   width / 2);
        last_ = register_module(
            "last", torch::nn::ConvTranspose2d(
                        Up(width, options_.channels * options_.levels, 4).stride(2).padding(1).bias(false)));
    }
    const PixelAutoencoderOptions& options() const { return options_; }

    Latent encode(at::Tensor images) {
        for (std::size_t i = 0; i < down_.size(); ++i)
            images = at::relu(down_norm_[i]->forward(down_[i]->forward(images)));
        return {mean_->forward(images).flatten(1), log_variance_->forward(images).flatten(1)};
    }
    at::Tensor decode(const at::Tensor& latent) {
        at::Tensor x = latent.unsqueeze(2).unsqueeze(3);
        for (std::size_t i = 0; i < up_.size(); ++i) x = at::relu(up_norm_[i]->forward(up_[i]->forward(x)));
        x = last_->forward(x);
        return x.view({-1, options_.channels, options_.levels, options_.size, options_.size}).transpose(1, 2);
    }

    /// The encoder's parameters, repeated for each of `count` images: [count, ...], leaves that take a gradient.
    std::vector<at::Tensor> own_encoders(std::int64_t count) const {
        std::vector<at::Tensor> result;
        const auto add = [&](const at::Tensor& parameter) {
            std::vector<std::int64_t> sizes = parameter.sizes().vec();
            sizes.insert(sizes.begin(), count);
            result.push_back(parameter.detach().unsqueeze(0).expand(sizes).clone().requires_grad_());
        };
        for (std::size_t i = 0; i < down_.size(); ++i) {
            add(down_[i]->weight);
            add(down_norm_[i]->weight);
            add(down_norm_[i]->bias);
        }
        for (const torch::nn::Conv2d* each : {&mean_, &log_variance_}) {
            add((*each)->weight);
            add((*each)->bias);
        }
        return result;
    }
    /// Each image by an encoder of its own, with the running statistics of the batch norms.
    /// \param encoders of `own_encoders`
    Latent encode_each(const at::Tensor& images, const std::vector<at::Tensor>& encoders) const {
        const std::int64_t count = images.size(0);
        auto next = encoders.begin();
        // One group of a convolution for each image.
        const auto convolve = [&](const at::Tensor& x, const at::Tensor& weight, std::int64_t stride,
                                  std::int64_t padding) {
            const at::Tensor grouped = x.reshape({1, -1, x.size(2), x.size(3)});
            const at::Tensor y = at::conv2d(grouped, weight.flatten(0, 1), {}, {stride, stride},
                                            {padding, padding}, {1, 1}, count);
            return y.view({count, -1, y.size(2), y.size(3)});
        };
        const auto per_channel = [](const at::Tensor& values) { return values.unsqueeze(-1).unsqueeze(-1); };
        at::Tensor x = images;
        for (const torch::nn::BatchNorm2d& norm : down_norm_) {
            x = convolve(x, *next++, 2, 1);
            const at::Tensor mean = norm->running_mean.unsqueeze(0);
            const at::Tensor deviation = (norm->running_var + norm->options.eps()).sqrt().unsqueeze(0);
            x = (x - per_channel(mean)) / per_channel(deviation);
            const at::Tensor& scale = *next++;
            const at::Tensor& shift = *next++;
            x = at::relu(x * per_channel(scale) + per_channel(shift));
        }
        Latent result;
        for (at::Tensor* each : {&result.mean, &result.log_variance}) {
            const at::Tensor& weight = *next++;
            const at::Tensor& bias = *next++;
            *each = convolve(x, weight, 1, 0).flatten(1) + bias;
        }
        return result;
    }

  private:
    void add_down(const torch::nn::Conv2d& convolution, std::int64_t width) {
        const std::string number = std::to_string(down_.size());
        down_.push_back(register_module("down" + number, convolution));
        down_norm_.push_back(register_module("down_norm" + number, torch::nn::BatchNorm2d(width)));
    }
    void add_up(const torch::nn::ConvTranspose2d& convolution, std::int64_t width) {
        const std::string number = std::to_string(up_.size());
        up_.push_back(register_module("up" + number, convolution));
        up_norm_.push_back(register_module("up_norm" + number, torch::nn::BatchNorm2d(width)));
    }

    PixelAutoencoderOptions options_;
    std::vector<torch::nn::Conv2d> down_;
    std::vector<torch::nn::BatchNorm2d> down_norm_;
    torch::nn::Conv2d mean_{nullptr}, log_variance_{nullptr};
    std::vector<torch::nn::ConvTranspose2d> up_;
    std::vector<torch::nn::BatchNorm2d> up_norm_;
    torch::nn::ConvTranspose2d last_{nullptr};
};
TORCH_MODULE(PixelAutoencoder);

}  // namespace retort::community
