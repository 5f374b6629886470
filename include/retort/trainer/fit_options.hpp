// SPDX-License-Identifier: BSL-1.0
/// \file
/// Options of a trainer and of a run.
#pragma once

#include <cstdint>
#include <string>

namespace retort {

/// What happens at a loss that is NaN or infinite.
enum class NonFinite {
    stop,  ///< the run ends with a NonFiniteError that names the term, the epoch and the step, at the next
           ///< report
    skip,  ///< the step is left out (parameters, buffers and optimizer stay as they are). Every step then
           ///< waits for the device and copies the buffers
};

/// Options of a `Trainer`.
struct TrainerOptions {
    /// `cpu`, `cuda`, `cuda:N` or `auto`: student, teacher and learnable parts are moved there. Empty: all is
    /// expected where the student is.
    std::string device{};
};

/// Options of `Trainer::fit`.
struct FitOptions {
    /// How many epochs the training has in all, those of earlier calls included. At least 1.
    std::int64_t epochs = 1;
    /// After how many steps the running means are read from the device; the only moment when the run waits
    /// for it. At least 1.
    std::int64_t report_every = 50;
    /// Whether the accuracy on the training batches is counted (where targets are class indices).
    bool train_accuracy = true;
    NonFinite non_finite = NonFinite::stop;
    /// How many batches make one step of the optimizer; at least 1. Their gradients add up, weighted by their samples
    /// (the last batch, or the last step of an epoch, may be smaller), to those of one large batch: but for rounding,
    /// for terms that are means over the samples. Not for terms that relate the samples of a batch to each other, sums
    /// (`Reduction::sum`), means over other things than samples (tokens), batch norm's statistics and random numbers:
    /// each batch has its own. Steps, schedules, callbacks and checkpoints count steps of the optimizer.
    std::int64_t accumulate = 1;
};

}  // namespace retort
