// SPDX-License-Identifier: BSL-1.0
/// \file
/// A sequence of transforms.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <tuple>
#include <utility>

#include <retort/data/concept.hpp>

namespace retort::data {

/// Applies its transforms in order; with none, it is the identity.
///
/// ```cpp
/// retort::data::Compose{retort::data::RandomCrop{.padding = 4}, retort::data::HorizontalFlip{}}
/// ```
template <Transform... Transforms>
class Compose {
  public:
    explicit Compose(Transforms... transforms) : transforms_(std::move(transforms)...) {}

    at::Tensor operator()(at::Tensor images, at::Generator& generator) const {
        std::apply([&](const auto&... transform) { ((images = transform(images, generator)), ...); },
                   transforms_);
        return images;
    }

  private:
    std::tuple<Transforms...> transforms_;
};

}  // namespace retort::data
