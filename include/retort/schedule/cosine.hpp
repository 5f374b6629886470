// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that falls (or rises) along half a cosine.
#pragma once

#include <numbers>

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{final} + \tfrac12 (\text{initial} - \text{final}) (1 + \cos(\pi \min(1, e / \text{epochs})))
/// \f$, where e is the number of elapsed epochs (Loshchilov and Hutter, SGDR, 2017, Eq. 5, without restarts).
struct Cosine {
    double initial = 1.0;
    double final = 0.0;
    double epochs = 0.0;  ///< length; 0: the whole run
    Every every = Every::epoch;

    double weight(const Progress& progress) const {
        const double share = detail::elapsed_share("Cosine", progress, epochs, every);
        return final + 0.5 * (initial - final) * (1.0 + std::cos(std::numbers::pi * share));
    }
    void check() const {
        detail::check_finite("Cosine", "initial value", initial);
        detail::check_finite("Cosine", "final value", final);
        detail::check_range("Cosine", "a number of epochs", epochs, detail::at_least(0));
    }
};

}  // namespace retort
