// SPDX-License-Identifier: BSL-1.0
/// \file
/// Asynchronous successive halving: pruning of trials.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <retort/core/error.hpp>

namespace retort::search {

/// Asynchronous successive halving: a trial that reaches a rung continues if its value is among the best of all
/// values reported at this rung so far, including its own; no trial waits for another.
///
/// Formula: rung k is at step \f$ s_k = \mathrm{minimum} \cdot \mathrm{factor}^{\mathrm{early\_stopping} + k} \f$.
/// With the n values of the rung in ascending order \f$ v_0 \le \dots \le v_{n-1} \f$ a trial of value v is promoted
/// if \f$ v \le v_i \f$, \f$ i = \max(\lfloor n / \mathrm{factor} \rfloor - 1, 0) \f$, else pruned. The first trial
/// to reach a rung, and the best so far, are always promoted. Values are losses: smaller is better.
///
/// Source: Li, Jamieson, Rostamizadeh, Gonina, Hardt, Recht, Talwalkar, "A System for Massively Parallel Hyperparameter
/// Tuning", MLSys 2020; the promotion rule is that of Optuna's `SuccessiveHalvingPruner`, whose options `min_resource`,
/// `reduction_factor` and `min_early_stopping_rate` correspond to these. The defaults are those of the search of
/// knowledge transfer graphs: rungs at 1, 2, 4, 8, ... epochs.
struct SuccessiveHalving {
    std::int64_t minimum = 1;         ///< steps (epochs) before the first rung, at least 1
    std::int64_t factor = 2;          ///< one of so many continues, at least 2
    std::int64_t early_stopping = 0;  ///< how many of the first rungs are skipped, at least 0

    /// The step of a rung; rungs count from 0. Saturates at the largest number.
    std::int64_t step(std::int64_t rung) const {
        std::int64_t result = minimum;
        for (std::int64_t i = 0; i < early_stopping + rung; ++i) {
            if (result > std::numeric_limits<std::int64_t>::max() / factor)
                return std::numeric_limits<std::int64_t>::max();
            result *= factor;
        }
        return result;
    }
    /// Whether a trial continues.
    /// \param value its own; infinity and NaN never continue
    /// \param values all values at the rung, including `value`
    bool promoted(double value, std::vector<double> values) const {
        if (!std::isfinite(value)) return false;
        const std::size_t share = values.size() / static_cast<std::size_t>(factor);
        const std::size_t last = share > 0 ? share - 1 : 0;
        const auto limit = values.begin() + static_cast<std::ptrdiff_t>(last);
        std::nth_element(values.begin(), limit, values.end());
        return value <= *limit;
    }
    /// \throws ConfigError if an option is out of range
    void check() const {
        if (minimum < 1 || factor < 2 || early_stopping < 0) {
            throw ConfigError(
                detail::concat("SuccessiveHalving: expected minimum of at least 1, factor of at least 2 and "
                               "early_stopping of at least 0, found ",
                               minimum, ", ", factor, " and ", early_stopping));
        }
    }
};

}  // namespace retort::search
