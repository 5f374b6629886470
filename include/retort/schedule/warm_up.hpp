// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that starts small and grows to what another schedule says.
#pragma once

#include <retort/schedule/constant.hpp>

namespace retort {

/// \f$ w = w_\text{then} \cdot \min(1, \text{initial} + (1 - \text{initial}) \, e / \text{epochs}) \f$, where
/// e is the number of elapsed epochs and \f$ w_\text{then} \f$ the weight of the schedule `then`, which sees
/// the progress as it is.
template <WeightSchedule Then = Constant>
struct WarmUp {
    double epochs = 5.0;   ///< length; above 0
    Then then{};           ///< what it grows to
    double initial = 0.0;  ///< share of the weight at the start
    Every every = Every::step;

    double weight(const Progress& progress) const {
        const double share = detail::elapsed_share("WarmUp", progress, epochs, every);
        return then.weight(progress) * (initial + (1.0 - initial) * share);
    }
    void check() const {
        if (!(epochs > 0))
            throw ConfigError(detail::concat("WarmUp: expected a length above 0 epochs, found ", epochs));
        detail::check_finite("WarmUp", "initial share", initial);
        detail::check_schedule(then);
    }
};

namespace detail {

/// The first schedule among the types; `Constant` where there is none.
template <class... T>
struct FirstSchedule {
    using type = Constant;
};
template <class T, class... Rest>
struct FirstSchedule<T, Rest...> : FirstSchedule<Rest...> {};
template <WeightSchedule T, class... Rest>
struct FirstSchedule<T, Rest...> {
    using type = T;
};

}  // namespace detail

// Whichever options are given: GCC 12 deduces nothing from designated initializers without it.
template <class... Options>
WarmUp(Options...) -> WarmUp<typename detail::FirstSchedule<Options...>::type>;

}  // namespace retort
