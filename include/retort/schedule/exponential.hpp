// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that decays geometrically.
#pragma once

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{initial} \cdot \text{factor}^{e} \f$, where e is the number of elapsed epochs.
struct Exponential {
    double initial = 1.0;
    double factor = 0.9;  ///< at least 0
    Every every = Every::epoch;

    double weight(const Progress& progress) const {
        return initial * std::pow(factor, elapsed_epochs(progress, every));
    }
    void check() const {
        detail::check_finite("Exponential", "initial value", initial);
        detail::check_finite("Exponential", "factor", factor);
        detail::check_range("Exponential", "a factor", factor, detail::at_least(0));
    }
};

}  // namespace retort
