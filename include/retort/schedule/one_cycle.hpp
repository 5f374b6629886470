// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that rises once and falls once.
#pragma once

#include <numbers>

#include <retort/schedule/concept.hpp>

namespace retort {

/// Rises along half a cosine from `initial` to `peak`, then falls along another to `final`; both as fractions of the
/// learning rate it is applied to. Source: Smith, Topin, "Super-convergence", 2018, in the form of
/// `torch.optim.lr_scheduler.OneCycleLR`, whose defaults these are (without its momentum cycle; it ends one step
/// earlier).
struct OneCycle {
    double peak = 1.0;
    double initial = 0.04;  ///< 1/25 of the peak
    double final = 4e-6;    ///< 1/10,000 of the initial value
    double rise = 0.3;      ///< fraction of the length in which it rises, above 0 and below 1
    double epochs = 0.0;    ///< length; 0: the whole run
    Every every = Every::step;

    double weight(const Progress& progress) const {
        const double share = detail::elapsed_share("OneCycle", progress, epochs, every);
        const auto between = [](double from, double to, double part) {
            return to + 0.5 * (from - to) * (1.0 + std::cos(std::numbers::pi * part));
        };
        return share < rise ? between(initial, peak, share / rise)
                            : between(peak, final, (share - rise) / (1.0 - rise));
    }
    void check() const {
        detail::check_finite("OneCycle", "peak", peak);
        detail::check_finite("OneCycle", "initial value", initial);
        detail::check_finite("OneCycle", "final value", final);
        detail::check_range("OneCycle", "a number of epochs", epochs, detail::at_least(0));
        detail::check_range("OneCycle", "a rise", rise, detail::in_open(0, 1));
    }
};

}  // namespace retort
