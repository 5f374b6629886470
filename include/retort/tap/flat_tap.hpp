// SPDX-License-Identifier: BSL-1.0
/// \file
/// A tap flattened to one vector per sample.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include <retort/tap/tap.hpp>

namespace retort {

/// Flattens what another tap reads to one vector per sample: [batch, ...] to [batch, elements].
template <class Tap>
class FlatTap {
  public:
    explicit FlatTap(Tap tap) : tap_(std::move(tap)) {}
    template <class O>
        requires TapOf<Tap, O>
    at::Tensor operator()(const O& outputs) const {
        const at::Tensor feature = tap_(outputs);
        return feature.defined() && feature.dim() > 1 ? feature.flatten(1) : feature;
    }
    std::string name() const { return "flat(" + detail::tap_name(tap_) + ")"; }

  private:
    Tap tap_;
};

}  // namespace retort
