// SPDX-License-Identifier: BSL-1.0
/// \file
/// The paraphraser and the translator of factor transfer.
#pragma once

#include <ATen/ops/leaky_relu.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/pimpl.h>

#include <algorithm>
#include <vector>

#include <retort/knowledge/connector/concept.hpp>

namespace retort {

namespace detail {

/// Layers of a 3x3 convolution each (or a transposed one), optional batch norm, and leaky ReLU with slope 0.1.
template <class Convolution, class ConvolutionOptions>
class FactorLayersImpl : public torch::nn::Module {
  public:
    /// \param widths the numbers of channels, from input to output
    FactorLayersImpl(const std::vector<std::int64_t>& widths, bool batch_norm)
        : torch::nn::Module("FactorLayers") {
        for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
            convolutions_.push_back(register_module(
                concat("convolution", i),
                Convolution(ConvolutionOptions(widths[i], widths[i + 1], 3).stride(1).padding(1))));
            if (batch_norm)
                norms_.push_back(register_module(concat("norm", i), torch::nn::BatchNorm2d(widths[i + 1])));
        }
    }
    at::Tensor forward(const at::Tensor& feature) {
        check_map("factor transfer", feature, convolutions_.front()->options.in_channels());
        at::Tensor result = feature;
        for (std::size_t i = 0; i < convolutions_.size(); ++i) {
            result = convolutions_[i]->forward(result);
            if (!norms_.empty()) result = norms_[i]->forward(result);
            result = at::leaky_relu(result, 0.1);
        }
        return result;
    }

  private:
    std::vector<Convolution> convolutions_;
    std::vector<torch::nn::BatchNorm2d> norms_;
};
using FactorEncoder = torch::nn::ModuleHolder<FactorLayersImpl<torch::nn::Conv2d, torch::nn::Conv2dOptions>>;
using FactorDecoder =
    torch::nn::ModuleHolder<FactorLayersImpl<torch::nn::ConvTranspose2d, torch::nn::ConvTranspose2dOptions>>;

/// The number of channels of a factor.
inline std::int64_t factor_channels(const char* where, std::int64_t channels, double rate) {
    check_range(where, "a rate", rate, above(0));
    const auto count = static_cast<std::int64_t>(static_cast<double>(channels) * rate);
    if (count < 1) {
        throw ConfigError(concat(where, ": expected a rate that leaves a channel, found ", rate, " of ",
                                 channels, " channels"));
    }
    return count;
}

}  // namespace detail

/// An autoencoder of the teacher's feature; its code is the teacher's factor.
///
/// Three 3x3 convolutions with leaky ReLU (slope 0.1) down to `rate` times the channels, and three transposed
/// ones back. It is trained first, by `FactorReconstruction`, and fixed afterwards.
class ParaphraserImpl : public torch::nn::Module {
  public:
    /// \param channels of the teacher's feature
    /// \param rate channels of the factor per channel of the feature, above 0
    explicit ParaphraserImpl(std::int64_t channels, double rate = 0.5, bool batch_norm = false)
        : torch::nn::Module("Paraphraser"), channels_(channels) {
        const std::int64_t code = detail::factor_channels("Paraphraser", channels, rate);
        encoder_ = register_module(
            "encoder",
            detail::FactorEncoder(std::vector<std::int64_t>{channels, channels, code, code}, batch_norm));
        decoder_ = register_module(
            "decoder",
            detail::FactorDecoder(std::vector<std::int64_t>{code, code, channels, channels}, batch_norm));
        factor_channels_ = code;
    }
    /// The factor.
    /// Shapes: [batch, channels, height, width] to [batch, factor channels, height, width].
    at::Tensor encode(const at::Tensor& feature) { return encoder_->forward(feature); }
    /// The reconstructed feature.
    at::Tensor decode(const at::Tensor& factor) { return decoder_->forward(factor); }
    at::Tensor forward(const at::Tensor& feature) { return decode(encode(feature)); }
    std::int64_t channels() const { return channels_; }
    std::int64_t factor_channels() const { return factor_channels_; }

  private:
    std::int64_t channels_;
    std::int64_t factor_channels_ = 0;
    detail::FactorEncoder encoder_{nullptr};
    detail::FactorDecoder decoder_{nullptr};
};
/// Holder of `ParaphraserImpl`.
TORCH_MODULE(Paraphraser);

/// Three 3x3 convolutions with batch norm and leaky ReLU (slope 0.1) from the student's feature to a factor
/// of `out` channels: the translator of factor transfer.
/// Shapes: [batch, in, height, width] to [batch, out, height, width]. If 0, `in` is taken from the first batch, and
/// `out` is then `rate` times the teacher's channels.
struct Translator {
    std::int64_t in = 0;
    std::int64_t out = 0;
    double rate = 0.5;
    bool batch_norm = true;

    bool sized() const { return in > 0 && out > 0; }
    detail::FactorEncoder build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        detail::check_range("Translator", "in", in, detail::at_least(0));
        detail::check_range("Translator", "out", out, detail::at_least(0));
        const std::int64_t from = in > 0 ? in : detail::channels("Translator", student);
        const std::int64_t to =
            out > 0 ? out
                    : detail::factor_channels("Translator", detail::channels("Translator", teacher), rate);
        return detail::FactorEncoder(std::vector<std::int64_t>{from, from, to, to}, batch_norm);
    }
    static std::string name() { return "Translator"; }
};

}  // namespace retort
