// SPDX-License-Identifier: BSL-1.0
/// \file
/// Options of a trainer and of a run.
#pragma once

#include <cstdint>
#include <string>

namespace retort {

/// How to treat a loss that is NaN or infinite.
enum class NonFinite {
    stop,  ///< the run ends with a NonFiniteError that names the term, the epoch and the step, at the next
           ///< report
    skip,  ///< the step is skipped (parameters, buffers and optimizer are unchanged). Every step then waits
           ///< for the device and copies the buffers
};

/// Options of a `Trainer`.
struct TrainerOptions {
    /// `cpu`, `cuda`, `cuda:N` or `auto`: student, teacher and learnable parts are moved there. Empty: everything is
    /// expected on the student's device.
    std::string device{};
};

/// Options of `Trainer::fit`.
struct FitOptions {
    /// The total number of epochs of the training, including those of earlier calls. At least 1.
    std::int64_t epochs = 1;
    /// Steps between reads of the running means from the device, the only time the run waits for it. At least 1.
    std::int64_t report_every = 50;
    /// Whether to compute the accuracy on training batches (if targets are class indices).
    bool train_accuracy = true;
    NonFinite non_finite = NonFinite::stop;
    /// How many batches make one optimizer step; at least 1. Their gradients add up, weighted by their numbers of
    /// samples (the last batch, or the last step of an epoch, may be smaller), to those of one large batch, up to
    /// rounding, for terms that are means over the samples. This does not hold for terms that relate the samples of a
    /// batch to each other, sums (`Reduction::sum`), means over anything other than samples (tokens), batch norm
    /// statistics and random numbers: these are per batch. Steps, schedules, callbacks and checkpoints count optimizer
    /// steps.
    std::int64_t accumulate = 1;
};

}  // namespace retort
