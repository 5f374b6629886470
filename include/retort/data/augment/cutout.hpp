// SPDX-License-Identifier: BSL-1.0
/// \file
/// Blanks a square of each image.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/images.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// Blanks a square of `size` x `size` pixels of each image. Its center is any pixel, all equally likely, so that part
/// of it may lie outside (DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
/// 2017). A square of even size extends one pixel further up and left of the center than down and right.
///
/// Shapes: B x C x H x W in and out; any type, unchanged.
/// \throws ConfigError if `size` is below 1
struct Cutout {
    std::int64_t size = 8;
    /// The fill value; 0 is the mean of normalized images.
    double value = 0.0;

    at::Tensor operator()(const at::Tensor& images, at::Generator& generator) const {
        detail::expect_images(images, "Cutout");
        if (size < 1) {
            throw ConfigError(::retort::detail::concat("Cutout: expected a size of 1 or more, found ", size));
        }
        const auto rows = span(images.size(2), images, generator).unsqueeze(2);
        const auto columns = span(images.size(3), images, generator).unsqueeze(1);
        return images.masked_fill(rows.logical_and(columns).unsqueeze(1), value);
    }
    std::string description() const { return detail::described("Cutout", "size", size, "value", value); }

  private:
    /// Which of the `length` positions the square covers: B x length.
    at::Tensor span(std::int64_t length, const at::Tensor& images, at::Generator& generator) const {
        const auto device = images.device();
        const auto start =
            detail::integers(length, images.size(0), generator, device).sub_(size / 2).unsqueeze(1);
        const auto place = at::arange(length, at::TensorOptions(at::kLong).device(device)).unsqueeze(0);
        return place.ge(start).logical_and(place.lt(start.add(size)));
    }
};

}  // namespace retort::data
