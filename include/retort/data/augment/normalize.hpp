// SPDX-License-Identifier: BSL-1.0
/// \file
/// Normalizes each channel by mean and standard deviation.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/images.hpp>

namespace retort::data {

/// `(image - mean) / deviation` per channel, for images from 0 to 1; uint8 images are divided by 255 first and become
/// float32.
///
/// Shapes: B x C x H x W in and out.
/// \throws ConfigError if the numbers of means and deviations differ or a deviation is not above 0; ShapeError if the
/// images have another number of channels or another type
struct Normalize {
    /// One number per channel.
    std::vector<double> mean;
    /// The standard deviations: one number per channel, above 0.
    std::vector<double> deviation;

    at::Tensor operator()(const at::Tensor& images, at::Generator& /*generator*/) const {
        using ::retort::detail::concat;
        detail::expect_images(images, "Normalize");
        if (mean.empty() || mean.size() != deviation.size()) {
            throw ConfigError(
                concat("Normalize: expected as many deviations as means, and at least one, found ",
                       deviation.size(), " and ", mean.size()));
        }
        for (std::size_t c = 0; c < mean.size(); ++c) {
            if (!std::isfinite(mean[c]) || !std::isfinite(deviation[c]) || deviation[c] <= 0.0) {
                throw ConfigError(concat("Normalize: expected finite means and deviations above 0, found ",
                                         mean[c], " and ", deviation[c], " for channel ", c));
            }
        }
        if (images.size(1) != static_cast<std::int64_t>(mean.size())) {
            throw ShapeError(concat("Normalize: expected images of ", mean.size(), " channels, found shape ",
                                    images.sizes()));
        }
        const auto scaled = detail::unit_range(images, "Normalize");
        return scaled.sub(channels(mean, scaled)).div_(channels(deviation, scaled));
    }
    std::string description() const {
        return detail::described("Normalize", "mean", mean, "deviation", deviation);
    }

  private:
    static at::Tensor channels(const std::vector<double>& values, const at::Tensor& images) {
        auto* begin = const_cast<double*>(values.data());  // only read: copied by the conversion
        const auto size = static_cast<std::int64_t>(values.size());
        const auto own = at::from_blob(begin, {1, size, 1, 1}, at::TensorOptions(at::kDouble))
                             .to(images.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
        return ::retort::to_device(own, images.device());
    }
};

}  // namespace retort::data
