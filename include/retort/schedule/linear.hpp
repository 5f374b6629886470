// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that changes linearly.
#pragma once

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{initial} + (\text{final} - \text{initial}) \min(1, e / \text{epochs}) \f$, where e is the
/// number of elapsed epochs.
struct Linear {
    double initial = 0.0;
    double final = 1.0;
    double epochs = 0.0;  ///< length; 0: the whole run
    Every every = Every::epoch;

    double weight(const Progress& progress) const {
        return initial + (final - initial) * detail::elapsed_share("Linear", progress, epochs, every);
    }
    void check() const {
        detail::check_finite("Linear", "initial value", initial);
        detail::check_finite("Linear", "final value", final);
        detail::check_range("Linear", "a number of epochs", epochs, detail::at_least(0));
    }
};

}  // namespace retort
