// SPDX-License-Identifier: BSL-1.0
/// \file
/// What one step of a cohort computed.
#pragma once

#include <cstddef>
#include <vector>

#include <retort/cohort/learners.hpp>
#include <retort/trainer/losses.hpp>

namespace retort {

/// What one step of a cohort computed.
template <class Slots>
struct CohortResult {
    std::vector<Losses> losses;  ///< of each learner; its terms are its incoming edges in the graph's order;
                                 ///< `total` is undefined if it did not learn
    Slots outputs;               ///< of each learner: `std::optional`, empty if its forward has not run; a
        ///< `std::array` (or vector) if all return one type, otherwise a `std::tuple`

    /// Calls `function(position, losses, outputs)` for every learner that learns.
    template <class F>
    void each_learning(F&& function) const {
        detail::each_of(outputs, [&](std::size_t i, const auto& own) {
            if (losses[i].total.defined()) function(i, losses[i], *own);
        });
    }
};

}  // namespace retort
