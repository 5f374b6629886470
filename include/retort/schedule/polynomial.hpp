// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that is a power of the remaining fraction of a run.
#pragma once

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{final} + (\text{initial} - \text{final}) (1 - \min(1, e / \text{epochs}))^{\text{power}} \f$, where e
/// is the number of elapsed epochs: the "poly" rate of semantic segmentation (power 0.9).
struct Polynomial {
    double initial = 1.0;
    double final = 0.0;
    double power = 1.0;   ///< above 0; 1 is `Linear`
    double epochs = 0.0;  ///< length; 0: the whole run
    Every every = Every::epoch;

    double weight(const Progress& progress) const {
        const double share = detail::elapsed_share("Polynomial", progress, epochs, every);
        return final + (initial - final) * std::pow(1.0 - share, power);
    }
    void check() const {
        detail::check_finite("Polynomial", "initial value", initial);
        detail::check_finite("Polynomial", "final value", final);
        detail::check_range("Polynomial", "a number of epochs", epochs, detail::at_least(0));
        detail::check_range("Polynomial", "a power", power, detail::above(0));
    }
};

}  // namespace retort
