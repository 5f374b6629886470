// SPDX-License-Identifier: BSL-1.0
/// \file
/// Where a run stands.
#pragma once

#include <cstdint>

namespace retort {

/// Where a run stands. All counts start at 0: the first step of the first epoch is `{.epoch = 0, .step = 0}`.
struct Progress {
    std::int64_t epoch = 0;            ///< the epoch that runs
    std::int64_t epochs = 0;           ///< how many epochs are asked for; 0 where nobody knows
    std::int64_t step = 0;             ///< the step within the epoch
    std::int64_t steps_per_epoch = 0;  ///< how many steps an epoch has; 0 where nobody knows yet

    friend bool operator==(const Progress&, const Progress&) = default;
};

/// How often a schedule changes its value: with the epoch or with every step.
enum class Every { epoch, step };

/// Time in epochs, as a schedule sees it: whole epochs for `Every::epoch`; with the share of the epoch that
/// is done for `Every::step` (whole epochs too as long as the number of steps is not known).
constexpr double elapsed_epochs(const Progress& progress, Every every) {
    double epochs = static_cast<double>(progress.epoch);
    if (every == Every::step && progress.steps_per_epoch > 0) {
        epochs += static_cast<double>(progress.step) / static_cast<double>(progress.steps_per_epoch);
    }
    return epochs;
}

}  // namespace retort
