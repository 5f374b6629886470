// SPDX-License-Identifier: BSL-1.0
/// \file
/// Connectors without parameters that resize the student's map.
#pragma once

#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <torch/nn/pimpl.h>

#include <retort/knowledge/connector/concept.hpp>

namespace retort {

/// How a map is resized.
enum class Resampling {
    average,   ///< adaptive average pooling
    nearest,   ///< the nearest position
    bilinear,  ///< between the four nearest positions, without aligned corners
};

namespace detail {

inline at::Tensor resampled(const at::Tensor& maps, std::int64_t height, std::int64_t width,
                            Resampling resampling) {
    if (maps.size(2) == height && maps.size(3) == width) return maps;
    switch (resampling) {
        case Resampling::nearest:
            return at::upsample_nearest2d(maps, {height, width});
        case Resampling::bilinear:
            return at::upsample_bilinear2d(maps, {height, width}, /*align_corners=*/false);
        case Resampling::average:
            break;
    }
    return at::adaptive_avg_pool2d(maps, {height, width});
}

}  // namespace detail

/// Resizes maps.
class ResizeConnectorImpl : public torch::nn::Module {
  public:
    ResizeConnectorImpl(std::int64_t height, std::int64_t width, Resampling resampling)
        : torch::nn::Module("ResizeConnector"), height_(height), width_(width), resampling_(resampling) {}
    /// \throws ShapeError if the feature is not [batch, channels, height, width]
    at::Tensor forward(const at::Tensor& feature) const {
        detail::spatial_sizes("ResizeTo", feature.sizes());
        return detail::resampled(feature, height_, width_, resampling_);
    }

  private:
    std::int64_t height_, width_;
    Resampling resampling_;
};
/// Holder of `ResizeConnectorImpl`.
TORCH_MODULE(ResizeConnector);

/// Resizes the student's map to this height and width; to the teacher's if they are 0.
/// Shapes: [batch, channels, h, w] to [batch, channels, height, width].
struct ResizeTo {
    std::int64_t height = 0;
    std::int64_t width = 0;
    Resampling resampling = Resampling::average;

    bool sized() const { return height > 0 && width > 0; }
    ResizeConnector build(at::IntArrayRef, at::IntArrayRef teacher) const {
        detail::check_range("ResizeTo", "a height", height, detail::at_least(0));
        detail::check_range("ResizeTo", "a width", width, detail::at_least(0));
        if (sized()) return ResizeConnector(height, width, resampling);
        const auto [teacher_height, teacher_width] = detail::spatial_sizes("ResizeTo", teacher);
        return ResizeConnector(height > 0 ? height : teacher_height, width > 0 ? width : teacher_width,
                               resampling);
    }
    static std::string name() { return "ResizeTo"; }
};

}  // namespace retort
