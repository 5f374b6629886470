// SPDX-License-Identifier: BSL-1.0
/// \file
/// A sequence of transforms.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <tuple>
#include <utility>

#include <retort/data/concept.hpp>
#include <retort/data/detail/description.hpp>

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
    std::string description() const {
        std::string text;
        const auto add = [&](const auto& transform) {
            text.append(text.empty() ? "" : ", ").append(detail::description_of(transform));
        };
        std::apply([&](const auto&... transform) { (add(transform), ...); }, transforms_);
        return "Compose{" + text + "}";
    }

  private:
    std::tuple<Transforms...> transforms_;
};

}  // namespace retort::data
