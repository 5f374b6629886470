// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a schedule: a weight over time.
///
/// | expression | meaning |
/// |---|---|
/// | `s.weight(progress)` | required; a finite number; a pure function of the progress, and of the schedule's checkpointed state if it has any, so that a resumed run sees the same weights |
/// | `s.check()` | optional; throws ConfigError if an option is invalid |
/// | `S::counts_run_epochs` | optional; `static constexpr bool`, true if the weight is looked up by the epoch of the run, so that `Phases` refuses the schedule as a later phase; deduced for schedules that are callbacks with `on_epoch_end` |
/// | `s.checkpoint(archive)` | required if the weight depends on more than the progress: stores or sets this state (`retort::Archive`); copies share it |
///
/// A minimal example:
///
///     struct EveryOtherEpoch {
///         double weight(const retort::Progress& progress) const { return progress.epoch % 2 == 0 ? 1.0 : 0.0; }
///     };
///
/// Schedules weight the terms of a `Knowledge` (`Schedule`), scale learning rates (`WithLearningRate`) and set
/// temperatures (`Tempered`). One that holds other schedules is derived from `retort::ScheduleAdaptor`, which checks and
/// stores them.
#pragma once

#include <concepts>
#include <type_traits>

#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>
#include <retort/detail/check.hpp>

namespace retort {

/// A schedule: `weight(progress)` returns a number.
template <class S>
concept WeightSchedule = requires(const S& schedule, const Progress& progress) {
    { schedule.weight(progress) } -> std::convertible_to<double>;
};

namespace detail {

template <class S>
concept EndsEpochs = requires { &S::on_epoch_end; } || requires { &S::template on_epoch_end<int>; };

/// Whether a schedule looks up its weight by the epoch of the run: one that measures, or holds one that does.
template <class S>
inline constexpr bool counts_run_epochs = EndsEpochs<S>;
template <class S>
    requires requires { S::counts_run_epochs; }
inline constexpr bool counts_run_epochs<S> = S::counts_run_epochs;

/// The elapsed fraction of `length` epochs, in [0, 1]; a length of 0 means the whole run.
inline double elapsed_share(const char* where, const Progress& progress, double length, Every every) {
    const double whole = length > 0 ? length : static_cast<double>(progress.epochs);
    if (whole <= 0) {
        throw ConfigError(
            concat(where, ": expected a length in epochs, in the schedule or of the run; found neither"));
    }
    const double share = elapsed_epochs(progress, every) / whole;
    return share < 1 ? share : 1;
}

}  // namespace detail
}  // namespace retort
