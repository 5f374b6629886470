// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that falls along a cosine, with restarts.
#pragma once

#include <numbers>

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{final} + \tfrac12 (\text{initial} - \text{final}) (1 + \cos(\pi\, t / T_i)) \f$, where t is the number
/// of epochs since the last restart, and the i-th period (from 0) lasts \f$ T_i = \text{epochs} \cdot
/// \text{factor}^i \f$ epochs. Source: Loshchilov, Hutter, "SGDR: Stochastic gradient descent with warm restarts",
/// ICLR 2017, eq. 5.
struct CosineRestarts {
    double initial = 1.0;
    double final = 0.0;
    double epochs = 10.0;  ///< length of the first period, above 0
    double factor = 2.0;   ///< ratio of each period's length to the one before, at least 1
    Every every = Every::step;

    double weight(const Progress& progress) const {
        double since = elapsed_epochs(progress, every);
        double length = epochs;
        if (factor == 1) {
            since = std::fmod(since, length);
        } else {
            while (since >= length) {
                since -= length;
                length *= factor;
            }
        }
        return final + 0.5 * (initial - final) * (1.0 + std::cos(std::numbers::pi * since / length));
    }
    void check() const {
        detail::check_finite("CosineRestarts", "initial value", initial);
        detail::check_finite("CosineRestarts", "final value", final);
        detail::check_range("CosineRestarts", "a number of epochs of the first period", epochs,
                            detail::above(0));
        detail::check_range("CosineRestarts", "a factor", factor, detail::at_least(1));
    }
};

}  // namespace retort
