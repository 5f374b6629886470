// SPDX-License-Identifier: BSL-1.0
/// \file
/// Options of a cohort.
#pragma once

#include <string>

namespace retort {

/// How a learner that does not learn in a step (no active incoming edge) computes its outputs. Never with gradients.
enum class FrozenMode {
    evaluate,  ///< in evaluation mode; parameters, buffers and training flags stay as they are
    train,     ///< in training mode, as in the released code of the knowledge transfer graph: batch norm
               ///< uses the statistics of the batch, and updates its running statistics
};

/// Options of a `Cohort`.
struct CohortOptions {
    /// `cpu`, `cuda`, `cuda:N` or `auto`: the learners are moved there. Empty: all must be on one device.
    std::string device{};
    FrozenMode frozen = FrozenMode::evaluate;
};

}  // namespace retort
