// SPDX-License-Identifier: BSL-1.0
/// \file
/// Stops a run that no longer improves.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <retort/callback/concept.hpp>
#include <retort/callback/monitor.hpp>
#include <retort/core/error.hpp>

namespace retort {

/// Options of `EarlyStopping`.
struct EarlyStoppingOptions {
    std::string column = "validation_accuracy";  ///< of the history
    Goal goal = Goal::maximize;
    std::int64_t patience = 10;  ///< stop after so many epochs in a row without improvement; at least 1
    double margin = 0.0;         ///< minimum difference that counts as an improvement; at least 0
};

/// Stops a run that no longer improves. Monitor a validation column, never the test set.
class EarlyStopping {
  public:
    explicit EarlyStopping(EarlyStoppingOptions options = {})
        : options_(std::move(options)), monitor_(options_.column, options_.goal) {
        if (options_.patience < 1 || !(options_.margin >= 0)) {
            throw ConfigError(detail::concat(
                "EarlyStopping: expected a patience of at least 1 and a margin of at least 0, found ",
                options_.patience, " and ", options_.margin));
        }
    }
    void on_fit_begin(FitContext& context) { monitor_.check("EarlyStopping", context.history); }
    bool on_epoch_end(FitContext& context) {
        using Verdict = detail::Monitor::Verdict;
        const Verdict verdict =
            monitor_.judge("EarlyStopping", context.history, options_.margin, context.progress);
        waited_ = verdict == Verdict::better ? 0 : waited_ + 1;
        // Never stop in an epoch that was not measured.
        return waited_ < options_.patience || verdict == Verdict::unmeasured;
    }
    void checkpoint(Archive& archive) {
        monitor_.checkpoint(archive);
        archive("waited", waited_);
    }
    /// The best epoch so far (from 0), and its value. -1 and NaN before the first.
    std::int64_t best_epoch() const { return monitor_.best_epoch(); }
    double best() const { return monitor_.best(); }

  private:
    EarlyStoppingOptions options_;
    detail::Monitor monitor_;
    std::int64_t waited_ = 0;
};

}  // namespace retort
