// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that changes every so many epochs.
#pragma once

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{initial} \cdot \text{factor}^{\lfloor e / \text{epochs} \rfloor} \f$, where e is the epoch.
struct Step {
    double initial = 1.0;
    double factor = 0.1;
    std::int64_t epochs = 30;  ///< length of each step

    double weight(const Progress& progress) const {
        const std::int64_t drops = progress.epoch / epochs;
        return initial * std::pow(factor, static_cast<double>(drops));
    }
    void check() const {
        detail::check_finite("Step", "initial value", initial);
        detail::check_finite("Step", "factor", factor);
        detail::check_range("Step", "a number of epochs", epochs, detail::at_least(1));
    }
};

}  // namespace retort
