// SPDX-License-Identifier: BSL-1.0
/// \file
/// Blanks a rectangle of some images.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <cmath>
#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/images.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// Blanks a rectangle of each image with the given probability (Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data
/// Augmentation", AAAI 2020). Its area is uniform from `area_low` to `area_high` of the image's, its aspect ratio
/// (height divided by width) log-uniform from `aspect_low` to `aspect_high`, its position uniform where it fits. A
/// side longer than the image's is clipped to it (the paper redraws instead, which takes a loop).
///
/// Shapes: B x C x H x W in and out; any type, unchanged.
/// \throws ConfigError if an option is out of range
struct RandomErasing {
    double probability = 0.5;
    /// Fractions of the image's area, above 0 and at most 1.
    double area_low = 0.02;
    double area_high = 0.33;
    /// Above 0.
    double aspect_low = 0.3;
    double aspect_high = 1.0 / 0.3;
    /// The fill value; 0 is the mean of normalized images.
    double value = 0.0;

    at::Tensor operator()(const at::Tensor& images, at::Generator& generator) const {
        using ::retort::detail::concat;
        detail::expect_images(images, "RandomErasing");
        detail::expect_probability(probability, "RandomErasing");
        if (!(area_low > 0.0 && area_low <= area_high && area_high <= 1.0)) {
            throw ConfigError(concat("RandomErasing: expected 0 < area_low <= area_high <= 1, found ",
                                     area_low, " and ", area_high));
        }
        if (!(aspect_low > 0.0 && aspect_low <= aspect_high && std::isfinite(aspect_high))) {
            throw ConfigError(concat("RandomErasing: expected 0 < aspect_low <= aspect_high, found ",
                                     aspect_low, " and ", aspect_high));
        }
        const auto device = images.device();
        const auto count = images.size(0);
        const auto erased = detail::uniform(count, generator, device).lt(probability);
        const auto pixels = static_cast<double>(images.size(2) * images.size(3));
        const auto area =
            detail::uniform(count, generator, device).mul_(area_high - area_low).add_(area_low).mul_(pixels);
        const auto aspect = detail::uniform(count, generator, device)
                                .mul_(std::log(aspect_high) - std::log(aspect_low))
                                .add_(std::log(aspect_low))
                                .exp_();
        const auto rows = span(area.mul(aspect).sqrt_(), images.size(2), images, generator).unsqueeze(2);
        const auto columns = span(area.div(aspect).sqrt_(), images.size(3), images, generator).unsqueeze(1);
        const auto rectangle = rows.logical_and(columns).logical_and_(erased.view({-1, 1, 1}));
        return images.masked_fill(rectangle.unsqueeze(1), value);
    }
    std::string description() const {
        return detail::described("RandomErasing", "probability", probability, "area_low", area_low,
                                 "area_high", area_high, "aspect_low", aspect_low, "aspect_high", aspect_high,
                                 "value", value);
    }

  private:
    /// Which of the `length` positions the rectangle covers: B x length.
    static at::Tensor span(const at::Tensor& side, std::int64_t length, const at::Tensor& images,
                           at::Generator& generator) {
        const auto device = images.device();
        const auto extent = side.round().to(at::kLong).clamp_(1, length);
        const auto room = extent.neg().add_(length + 1);  // the number of positions where it fits
        const auto draw = detail::uniform(images.size(0), generator, device);
        // The product may round up to the number of positions itself.
        const auto start = draw.mul(room).floor_().to(at::kLong).minimum(room.sub(1)).unsqueeze(1);
        const auto place = at::arange(length, at::TensorOptions(at::kLong).device(device)).unsqueeze(0);
        return place.ge(start).logical_and(place.lt(start.add(extent.unsqueeze(1))));
    }
};

}  // namespace retort::data
