// SPDX-License-Identifier: BSL-1.0
/// \file
/// Random brightness, contrast and saturation.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <string>

#include <retort/core/error.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/images.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// Changes, in this order, each image's brightness (towards black), contrast (towards the mean of its gray values)
/// and saturation (towards its gray values): `factor * image + (1 - factor) * end`, clamped to 0..1 after each, with
/// a separate factor per image, uniform from `max(0, 1 - x)` to `1 + x`, where x is the option. Gray values are
/// `0.2989 r + 0.587 g + 0.114 b`. The factors are those of torchvision's ColorJitter, which applies them in random
/// order; here the order is fixed. An option of 0 leaves its property unchanged.
///
/// Shapes: B x C x H x W in and out, C 1 or 3 (saturation has no effect on gray images). uint8 becomes float32 from 0
/// to 1; floating-point images are assumed to be in that range.
/// \throws ConfigError if an option is negative; ShapeError for another number of channels
struct ColorJitter {
    double brightness = 0.4;
    double contrast = 0.4;
    double saturation = 0.4;

    at::Tensor operator()(const at::Tensor& images, at::Generator& generator) const {
        using ::retort::detail::concat;
        detail::expect_images(images, "ColorJitter");
        for (const auto strength : {brightness, contrast, saturation}) {
            if (!(strength >= 0.0)) {
                throw ConfigError(concat("ColorJitter: expected options of 0 or more, found ", strength));
            }
        }
        if (images.size(1) != 1 && images.size(1) != 3) {
            throw ShapeError(concat("ColorJitter: expected 1 or 3 channels, found shape ", images.sizes()));
        }
        auto result = detail::unit_range(images, "ColorJitter");
        if (brightness > 0.0) {
            result = result.mul(factor(brightness, result, generator)).clamp_(0, 1);
        }
        if (contrast > 0.0) {
            const auto mean = gray(result).mean({1, 2, 3}, /*keepdim=*/true);
            result = blend(result, mean, factor(contrast, result, generator));
        }
        if (saturation > 0.0 && result.size(1) == 3) {
            result = blend(result, gray(result), factor(saturation, result, generator));
        }
        return result;
    }
    std::string description() const {
        return detail::described("ColorJitter", "brightness", brightness, "contrast", contrast, "saturation",
                                 saturation);
    }

  private:
    static at::Tensor factor(double strength, const at::Tensor& images, at::Generator& generator) {
        const auto low = std::max(0.0, 1.0 - strength);
        return detail::uniform(images.size(0), generator, images.device())
            .mul_(1.0 + strength - low)
            .add_(low)
            .to(images.scalar_type())
            .view({-1, 1, 1, 1});
    }
    static at::Tensor gray(const at::Tensor& images) {
        if (images.size(1) == 1) return images;
        return images.narrow(1, 0, 1)
            .mul(0.2989)
            .add_(images.narrow(1, 1, 1), 0.587)
            .add_(images.narrow(1, 2, 1), 0.114);
    }
    static at::Tensor blend(const at::Tensor& images, const at::Tensor& end, const at::Tensor& factor) {
        return images.sub(end).mul_(factor).add_(end).clamp_(0, 1);
    }
};

}  // namespace retort::data
