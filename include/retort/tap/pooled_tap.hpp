// SPDX-License-Identifier: BSL-1.0
/// \file
/// A tap pooled to another height and width.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/adaptive_avg_pool2d.h>

#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/tap/tap.hpp>

namespace retort {

/// Average-pools what another tap reads to this height and width: [batch, channels, h, w] to [batch, channels,
/// height, width].
template <class Tap>
class PooledTap {
  public:
    PooledTap(Tap tap, std::int64_t height, std::int64_t width)
        : tap_(std::move(tap)), height_(height), width_(width) {
        if (height < 1 || width < 1)
            throw ConfigError(
                detail::concat("PooledTap: expected sizes of at least 1, found ", height, " and ", width));
    }
    PooledTap(Tap tap, std::int64_t size) : PooledTap(std::move(tap), size, size) {}
    template <class O>
        requires TapOf<Tap, O>
    at::Tensor operator()(const O& outputs) const {
        const at::Tensor feature = tap_(outputs);
        if (!feature.defined()) return feature;
        if (feature.dim() != 4) {
            throw ShapeError(detail::concat(
                name(), ": expected a feature of shape [batch, channels, height, width], found ",
                detail::shape_text(feature)));
        }
        return at::adaptive_avg_pool2d(feature, {height_, width_});
    }
    std::string name() const {
        return detail::concat("pooled(", detail::tap_name(tap_), ", ", height_, 'x', width_, ')');
    }

  private:
    Tap tap_;
    std::int64_t height_, width_;
};

}  // namespace retort
