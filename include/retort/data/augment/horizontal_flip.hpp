// SPDX-License-Identifier: BSL-1.0
/// \file
/// Random horizontal flips.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/where.h>

#include <string>

#include <retort/data/detail/description.hpp>
#include <retort/data/detail/images.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// Mirrors each image left to right with the given probability, independently.
///
/// Shapes: B x C x H x W in and out; any type, unchanged.
/// \throws ConfigError if the probability is not from 0 to 1
struct HorizontalFlip {
    double probability = 0.5;

    at::Tensor operator()(const at::Tensor& images, at::Generator& generator) const {
        detail::expect_images(images, "HorizontalFlip");
        detail::expect_probability(probability, "HorizontalFlip");
        const auto flipped = detail::uniform(images.size(0), generator, images.device()).lt(probability);
        return at::where(flipped.view({-1, 1, 1, 1}), at::flip(images, {3}), images);
    }
    std::string description() const {
        return detail::described("HorizontalFlip", "probability", probability);
    }
};

}  // namespace retort::data
