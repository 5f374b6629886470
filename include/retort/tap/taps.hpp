// SPDX-License-Identifier: BSL-1.0
/// \file
/// Several taps of one network, for knowledge that relates layers to each other.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/tap/tap.hpp>

namespace retort {

/// Several taps of one network, from shallow to deep:
///
///     retort::Taps{retort::tap<&Outputs::stages, 0>, retort::tap<&Outputs::stages, 1>,
///     retort::tap<&Outputs::stages, 2>}
template <class... T>
class Taps {
  public:
    static constexpr std::size_t size = sizeof...(T);
    explicit Taps(T... taps) : taps_(std::move(taps)...) {}

    template <class O>
        requires(TapOf<T, O> && ...)
    std::vector<at::Tensor> operator()(const O& outputs) const {
        return std::apply([&](const auto&... each) { return std::vector<at::Tensor>{each(outputs)...}; },
                          taps_);
    }
    /// The individual taps.
    const std::tuple<T...>& all() const { return taps_; }
    std::string name() const {
        std::string result;
        std::apply(
            [&](const auto&... each) {
                ((result += (result.empty() ? "" : "+") + detail::tap_name(each)), ...);
            },
            taps_);
        return result;
    }

  private:
    std::tuple<T...> taps_;
};

}  // namespace retort
