// SPDX-License-Identifier: BSL-1.0
/// \file
/// Gates that open or close linearly.
#pragma once

#include <retort/cohort/gate/concept.hpp>
#include <retort/core/error.hpp>

namespace retort::gate {

namespace detail {

/// The fraction of the ramp that an edge has completed: k / k_end, or e / (E - 1).
inline double line_share(const char* who, Every unit, double iterations, double extra_steps,
                         std::int64_t iteration, const Progress& progress) {
    if (unit == Every::epoch) {
        if (progress.epochs <= 0) {
            throw ConfigError(retort::detail::concat(who, ": expected a run with a known number of epochs"));
        }
        return progress.epochs == 1
                   ? 0.0
                   : static_cast<double>(progress.epoch) / static_cast<double>(progress.epochs - 1);
    }
    double end = iterations;
    if (end <= 0) {
        if (progress.epochs <= 0 || progress.steps_per_epoch <= 0) {
            throw ConfigError(retort::detail::concat(
                who,
                ": expected a number of iterations, or a run with known epochs and steps per epoch "
                "(batches from a sized range); found neither"));
        }
        end = (static_cast<double>(progress.steps_per_epoch) + extra_steps) *
              static_cast<double>(progress.epochs);
    }
    const double share = static_cast<double>(iteration) / end;
    return share < 1.0 ? share : 1.0;
}

inline void check_line(const char* who, double iterations, double extra_steps) {
    retort::detail::check_range(who, "a number of iterations", iterations, retort::detail::at_least(0));
    retort::detail::check_range(who, "extra_steps", extra_steps, retort::detail::at_least(0));
}

}  // namespace detail

/// Opens with time: \f$ G(l) = \frac{k}{k_{end}} \mathrm{mean}(l) \f$, where k counts the iterations of the
/// edge from 1. The released code has \f$ k_{end} = (\lfloor n / B \rfloor + 1) \, E \f$ for n samples, batches
/// of B and E epochs: one step per epoch more than are made if the last, smaller batch is dropped (the default
/// here), so that the weight ends below 1.
struct PositiveLinear {
    static constexpr bool per_sample = false;

    Every unit = Every::step;  ///< `Every::epoch`: e / (E - 1) with the epoch e from 0, as in a later port
    double iterations = 0;     ///< \f$ k_{end} \f$; 0: (steps per epoch + extra_steps) x epochs
    double extra_steps = 1;    ///< see above; 0: the last step of the run has weight 1

    double weight(std::int64_t iteration, const Progress& progress) const {
        return detail::line_share("gate::PositiveLinear", unit, iterations, extra_steps, iteration, progress);
    }
    void check() const { detail::check_line("gate::PositiveLinear", iterations, extra_steps); }
    static std::string name() { return "positive_linear"; }
    std::map<std::string, double> options() const {
        if (unit == Every::epoch) return {{"by_epoch", 1.0}};
        if (iterations > 0) return {{"iterations", iterations}};
        if (extra_steps != 1) return {{"extra_steps", extra_steps}};
        return {};
    }
};

/// Closes with time: \f$ 1 - \f$ the weight of `PositiveLinear`. Not in the paper but in a later port, by epoch,
/// \f$ (E - 1 - e) / (E - 1) \f$, which is the default here.
struct NegativeLinear {
    static constexpr bool per_sample = false;

    Every unit = Every::epoch;  ///< `Every::step`: \f$ 1 - k / k_{end} \f$
    double iterations = 0;      ///< \f$ k_{end} \f$; 0: (steps per epoch + extra_steps) x epochs
    double extra_steps = 1;     ///< as in `PositiveLinear`

    double weight(std::int64_t iteration, const Progress& progress) const {
        return 1.0 -
               detail::line_share("gate::NegativeLinear", unit, iterations, extra_steps, iteration, progress);
    }
    void check() const { detail::check_line("gate::NegativeLinear", iterations, extra_steps); }
    static std::string name() { return "negative_linear"; }
    std::map<std::string, double> options() const {
        if (unit == Every::epoch) return {};
        if (iterations > 0) return {{"iterations", iterations}};
        return {{"extra_steps", extra_steps}};
    }
};

}  // namespace retort::gate
