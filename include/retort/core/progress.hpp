// SPDX-License-Identifier: BSL-1.0
/// \file
/// The position of a run.
#pragma once

#include <cstdint>

#include <retort/core/error.hpp>

namespace retort {

/// The position of a run. All counts start at 0: the first step of the first epoch is `{.epoch = 0, .step = 0}`.
struct Progress {
    std::int64_t epoch = 0;            ///< the current epoch
    std::int64_t epochs = 0;           ///< the number of epochs of the run; 0 if unknown
    std::int64_t step = 0;             ///< the step within it
    std::int64_t steps_per_epoch = 0;  ///< the number of steps per epoch; 0 if not known yet

    friend bool operator==(const Progress&, const Progress&) = default;
};

/// How often a schedule changes its value: with the epoch or with every step.
enum class Every { epoch, step };

/// Time in epochs, as a schedule sees it: whole epochs for `Every::epoch`; including the completed fraction of the
/// current epoch for `Every::step`.
/// \throws ConfigError for `Every::step` if the number of steps per epoch is unknown
constexpr double elapsed_epochs(const Progress& progress, Every every) {
    const auto epochs = static_cast<double>(progress.epoch);
    if (every == Every::epoch) return epochs;
    if (progress.steps_per_epoch <= 0) {
        throw ConfigError(
            "schedule: expected a known number of steps per epoch for a value that changes with every step, "
            "found none: set FitOptions::steps_per_epoch, use a source that knows its length (such as "
            "data::batches(loader, count)), set Progress::steps_per_epoch in a custom loop, or let the "
            "schedule change with the epoch (Every::epoch)");
    }
    return epochs + static_cast<double>(progress.step) / static_cast<double>(progress.steps_per_epoch);
}

}  // namespace retort
