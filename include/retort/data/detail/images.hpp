// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by the transforms: checks of images and the conversion to the range from 0 to 1.
#pragma once

#include <ATen/core/Tensor.h>

#include <retort/core/error.hpp>

namespace retort::data::detail {

/// Throws unless `images` are B x channels x height x width.
inline void expect_images(const at::Tensor& images, const char* transform) {
    if (images.dim() != 4) {
        throw ShapeError(::retort::detail::concat(
            transform, ": expected images of shape batch x channels x height x width, found ",
            images.sizes()));
    }
}

/// Throws unless `value` is from 0 to 1.
inline void expect_probability(double value, const char* transform) {
    if (!(value >= 0.0 && value <= 1.0)) {
        throw ConfigError(
            ::retort::detail::concat(transform, ": expected a probability from 0 to 1, found ", value));
    }
}

/// Converts uint8 from 0 to 255 to float32 from 0 to 1. Floating-point images are assumed to be in that range and are
/// left unchanged.
inline at::Tensor unit_range(const at::Tensor& images, const char* transform) {
    if (images.is_floating_point()) return images;
    if (images.scalar_type() != at::kByte) {
        throw ShapeError(::retort::detail::concat(
            transform, ": expected images of type uint8 or floating point, found ", images.scalar_type()));
    }
    return images.to(at::kFloat).div_(255.0);
}

}  // namespace retort::data::detail
