// SPDX-License-Identifier: BSL-1.0
/// \file
/// Options of a trainer and of a run.
#pragma once

#include <cstdint>
#include <string>

namespace retort {

/// How to treat a loss or a gradient that is NaN or infinite. Both are looked at in every step.
enum class NonFinite {
    stop,  ///< the run ends with a NonFiniteError that names the term (or says that it is a gradient), the epoch and
           ///< the step: at the next report, and before anything is saved. Does not wait for the device
    skip,  ///< the step is skipped (parameters, buffers and optimizer are unchanged) and counted in the column
           ///< `skipped_steps`. Every step then waits for the device and copies the buffers
};

/// What weighs the batches of a step whose gradients add up.
enum class AccumulateBy {
    predictions,  ///< targets that count: samples, or tokens and pixels; without ignored ones. For losses that are means
    ///< over the targets, as cross-entropy is. Without class indices the same as `samples`. Waits for the
    ///< device (if it is not the CPU) at every batch of a step of several
    samples,  ///< for losses that are means over the samples, whatever their targets
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
    /// The number of steps that make an epoch; 0: as many as the source has batches for. Schedules that change with
    /// every step need it where the source does not know its length (an unsized range). An epoch ends after so many
    /// steps even where the source has more; one that has fewer is a DataError.
    std::int64_t steps_per_epoch = 0;
    /// Steps between reads of the running means from the device, the only time the run waits for it. At least 1.
    std::int64_t report_every = 50;
    /// Whether to compute the accuracy on training batches (if targets are class indices).
    bool train_accuracy = true;
    NonFinite non_finite = NonFinite::stop;
    /// How many batches make one optimizer step; at least 1. Their gradients add up, weighted by what
    /// `accumulate_by` says (the last batch, or the last step of an epoch, may be smaller), to those of one large
    /// batch, up to rounding, for terms that are means over the same. This does not hold for terms that relate the
    /// samples of a batch to each other, sums (`Reduction::sum`), means weighted by class
    /// (`CrossEntropy::class_weights`), batch norm statistics and random numbers: these are per batch. Steps,
    /// schedules, callbacks and checkpoints count optimizer steps.
    std::int64_t accumulate = 1;
    AccumulateBy accumulate_by = AccumulateBy::predictions;
};

}  // namespace retort
