// SPDX-License-Identifier: BSL-1.0
/// \file
/// Options of a cohort.
#pragma once

#include <string>

namespace retort {

/// How a learner that does not learn in a step (no incoming edge counts) makes its outputs. Never with a graph.
enum class FrozenMode {
    evaluate,  ///< in evaluation mode; parameters, buffers and training flags stay as they are
    train,     ///< in training mode, as the released code of the knowledge transfer graph has it: batch norm
               ///< uses the statistics of the batch, and its running statistics move on
};

/// Options of a `Cohort`.
struct CohortOptions {
    /// `cpu`, `cuda`, `cuda:N` or `auto`: the learners are moved there. Empty: all are expected on one device.
    std::string device{};
    FrozenMode frozen = FrozenMode::evaluate;
};

}  // namespace retort
