// SPDX-License-Identifier: BSL-1.0
/// \file
/// An open gate.
#pragma once

#include <retort/cohort/gate/concept.hpp>

namespace retort::gate {

/// Everything passes: \f$ G(l) = \mathrm{mean}(l) \f$, which is the term's own reduction.
/// Source: Minami, Hirakawa, Yamashita, Fujiyoshi, "Knowledge Transfer Graph for Deep Collaborative Learning",
/// ACCV 2020; also of `Cutoff`, `PositiveLinear` and `Correct`.
struct Through {
    static constexpr bool per_sample = false;

    static double weight(std::int64_t, const Progress&) { return 1.0; }
    static std::string name() { return "through"; }
};

}  // namespace retort::gate
