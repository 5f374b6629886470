// SPDX-License-Identifier: BSL-1.0
/// \file
/// A tap averaged over the positions.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/tap/tap.hpp>

namespace retort {

/// Averages what another tap reads over all positions: [batch, channels, ...] to [batch, channels]. A feature without
/// positions is returned unchanged.
///
///     retort::Hint{retort::GlobalAverage{retort::tap<&SmallOutputs::body>}, ..., retort::LinearMap{}}
template <class Tap>
class GlobalAverage {
  public:
    explicit GlobalAverage(Tap tap) : tap_(std::move(tap)) {}
    template <class O>
        requires TapOf<Tap, O>
    at::Tensor operator()(const O& outputs) const {
        const at::Tensor feature = tap_(outputs);
        if (!feature.defined() || feature.dim() == 2) return feature;
        if (feature.dim() < 2) {
            throw ShapeError(detail::concat(name(),
                                            ": expected a feature of shape [batch, channels, ...], "
                                            "found ",
                                            detail::shape_text(feature)));
        }
        return feature.flatten(2).mean(2);
    }
    std::string name() const { return "average(" + detail::tap_name(tap_) + ")"; }

  private:
    Tap tap_;
};

}  // namespace retort
