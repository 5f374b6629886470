// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that rises from almost 0 to 1.
#pragma once

#include <algorithm>
#include <cmath>

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{final} \cdot \exp(-5 (1 - \min(1, e / \text{epochs}))^2) \f$, where e is the number of elapsed
/// epochs: starts at 0.0067 and is 1 from `epochs` on.
/// Source: Laine, Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017; used by online ensembles.
struct RampUp {
    double epochs = 80.0;  ///< length; 0: no ramp, 1 from the start
    double final = 1.0;
    Every every = Every::epoch;

    double weight(const Progress& progress) const {
        if (epochs == 0) return final;
        const double rest = 1.0 - std::min(1.0, elapsed_epochs(progress, every) / epochs);
        return final * std::exp(-5.0 * rest * rest);
    }
    void check() const {
        detail::check_range("RampUp", "a number of epochs", epochs, detail::at_least(0));
        detail::check_finite("RampUp", "number of epochs", epochs);
        detail::check_finite("RampUp", "final value", final);
    }
};

}  // namespace retort
