// SPDX-License-Identifier: BSL-1.0
/// \file
/// A convolution between the student's channels and the teacher's, on feature maps.
#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/pimpl.h>

#include <retort/knowledge/connector/concept.hpp>

namespace retort {

/// A convolution or transposed convolution, optionally followed by batch norm and ReLU.
class ConvolutionConnectorImpl : public torch::nn::Module {
  public:
    ConvolutionConnectorImpl(const torch::nn::Conv2dOptions& options, bool batch_norm, bool relu)
        : ConvolutionConnectorImpl(options.in_channels(), options.out_channels(), batch_norm, relu) {
        convolution_ = register_module("convolution", torch::nn::Conv2d(options));
    }
    ConvolutionConnectorImpl(const torch::nn::ConvTranspose2dOptions& options, bool batch_norm, bool relu)
        : ConvolutionConnectorImpl(options.in_channels(), options.out_channels(), batch_norm, relu) {
        transposed_ = register_module("convolution", torch::nn::ConvTranspose2d(options));
    }
    /// \throws ShapeError if the feature is not [batch, in, height, width]
    at::Tensor forward(const at::Tensor& feature) {
        detail::check_map("convolution", feature, in_);
        at::Tensor result =
            transposed_.is_empty() ? convolution_->forward(feature) : transposed_->forward(feature);
        if (!norm_.is_empty()) result = norm_->forward(result);
        return relu_ ? at::relu(result) : result;
    }

  private:
    ConvolutionConnectorImpl(std::int64_t in, std::int64_t out, bool batch_norm, bool relu)
        : torch::nn::Module("ConvolutionConnector"), in_(in), relu_(relu) {
        if (batch_norm) norm_ = register_module("norm", torch::nn::BatchNorm2d(out));
    }

    torch::nn::Conv2d convolution_{nullptr};
    torch::nn::ConvTranspose2d transposed_{nullptr};
    torch::nn::BatchNorm2d norm_{nullptr};
    std::int64_t in_;
    bool relu_;
};
/// Holder of `ConvolutionConnectorImpl`.
TORCH_MODULE(ConvolutionConnector);

/// \f$ r(F) = W * F + b \f$ with a square kernel, optionally followed by batch norm and ReLU (FitNet's regressor has
/// both).
/// Shapes: [batch, in, height, width] to [batch, out, height', width']. A size of 0 is taken from the first
/// batch: `in` from the student's feature, `out` from the teacher's.
struct Convolution {
    std::int64_t in = 0;
    std::int64_t out = 0;
    std::int64_t kernel = 3;
    std::int64_t stride = 1;
    std::int64_t padding = 1;
    bool bias = true;
    bool batch_norm = false;
    bool relu = false;

    bool sized() const { return in > 0 && out > 0; }
    ConvolutionConnector build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        detail::check_range("Convolution", "in", in, detail::at_least(0));
        detail::check_range("Convolution", "out", out, detail::at_least(0));
        detail::check_range("Convolution", "a kernel", kernel, detail::at_least(1));
        detail::check_range("Convolution", "a stride", stride, detail::at_least(1));
        detail::check_range("Convolution", "a padding", padding, detail::at_least(0));
        return ConvolutionConnector(
            torch::nn::Conv2dOptions(in > 0 ? in : detail::channels("Convolution", student),
                                     out > 0 ? out : detail::channels("Convolution", teacher), kernel)
                .stride(stride)
                .padding(padding)
                .bias(bias),
            batch_norm, relu);
    }
    static std::string name() { return "Convolution"; }
};

/// A convolution with a 1x1 kernel: `Conv1x1{64, 256}` maps 64 channels to 256. See `Convolution`.
struct Conv1x1 {
    std::int64_t in = 0;
    std::int64_t out = 0;
    bool bias = true;
    bool batch_norm = false;
    bool relu = false;

    bool sized() const { return in > 0 && out > 0; }
    ConvolutionConnector build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        return Convolution{.in = in,
                           .out = out,
                           .kernel = 1,
                           .stride = 1,
                           .padding = 0,
                           .bias = bias,
                           .batch_norm = batch_norm,
                           .relu = relu}
            .build(student, teacher);
    }
    static std::string name() { return "Conv1x1"; }
};

}  // namespace retort
