// SPDX-License-Identifier: BSL-1.0
/// \file
/// A bottleneck of three convolutions: SimKD's projector.
#pragma once

#include <algorithm>

#include <retort/knowledge/connector/convolution.hpp>

namespace retort {

/// 1x1, 3x3 and 1x1 convolutions without bias, each with batch norm and ReLU.
class BottleneckConnectorImpl : public torch::nn::Module {
  public:
    BottleneckConnectorImpl(std::int64_t in, std::int64_t hidden, std::int64_t out)
        : torch::nn::Module("BottleneckConnector"),
          reduce_(register_module("reduce", layer(in, hidden, 1))),
          spatial_(register_module("spatial", layer(hidden, hidden, 3))),
          expand_(register_module("expand", layer(hidden, out, 1))) {}
    /// \throws ShapeError if the feature is not [batch, in, height, width]
    at::Tensor forward(const at::Tensor& feature) {
        return expand_->forward(spatial_->forward(reduce_->forward(feature)));
    }

  private:
    static ConvolutionConnector layer(std::int64_t in, std::int64_t out, std::int64_t kernel) {
        return ConvolutionConnector(
            torch::nn::Conv2dOptions(in, out, kernel).padding((kernel - 1) / 2).bias(false),
            /*batch_norm=*/true, /*relu=*/true);
    }
    ConvolutionConnector reduce_, spatial_, expand_;
};
/// Holder of `BottleneckConnectorImpl`.
TORCH_MODULE(BottleneckConnector);

/// 1x1, 3x3 and 1x1 convolutions without bias, each with batch norm and ReLU; `out / factor` channels inside.
/// Shapes: [batch, in, height, width] to [batch, out, height, width]. A size of 0 is taken from the first
/// batch.
struct Bottleneck {
    std::int64_t in = 0;
    std::int64_t out = 0;
    std::int64_t factor = 2;

    bool sized() const { return in > 0 && out > 0; }
    BottleneckConnector build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        detail::check_range("Bottleneck", "in", in, detail::at_least(0));
        detail::check_range("Bottleneck", "out", out, detail::at_least(0));
        detail::check_range("Bottleneck", "a factor", factor, detail::at_least(1));
        const std::int64_t from = in > 0 ? in : detail::channels("Bottleneck", student);
        const std::int64_t to = out > 0 ? out : detail::channels("Bottleneck", teacher);
        return BottleneckConnector(from, std::max<std::int64_t>(to / factor, 1), to);
    }
    static std::string name() { return "Bottleneck"; }
};

}  // namespace retort
