// SPDX-License-Identifier: BSL-1.0
/// \file
/// Monitoring a column of the history.
#pragma once

#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include <retort/callback/history.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/goal.hpp>
#include <retort/core/progress.hpp>

namespace retort {

namespace detail {

/// Monitors a column of the history for its best value.
class Monitor {
  public:
    Monitor(std::string column, Goal goal) : column_(std::move(column)), goal_(goal) {}

    /// \throws ConfigError if no such column has been declared
    void check(const char* who, const History& history) const {
        if (history.has(column_)) return;
        std::string names;
        for (const std::string& each : history.columns()) names += (names.empty() ? "" : ", ") + each;
        throw ConfigError(concat(who, ": expected a column \"", column_, "\" in the history, found ",
                                 names.empty() ? "none" : names,
                                 "; place the callback that fills it (such as Validation) before this one"));
    }
    /// The verdict on the last row.
    enum class Verdict {
        unmeasured,  ///< the row has no value: not every epoch is measured
        worse,
        better,  ///< than the best so far by more than `margin`: it becomes the best
    };
    /// A value that is NaN or infinite is worse than any other, and the first one is named in a warning of LibTorch.
    /// \throws NonFiniteError if the run ends without a finite value
    Verdict judge(const char* who, const History& history, double margin, const Progress& progress) {
        const double value = history.last(column_);
        if (!std::isfinite(value)) {
            if (progress.epoch + 1 >= progress.epochs && best_epoch_ < 0) {
                throw NonFiniteError(concat(who, ": expected a finite value of \"", column_,
                                            "\" in one of the epochs, found ",
                                            history.measured(column_) ? concat(value) : std::string("none"),
                                            " in the last one, epoch ", history.last("epoch")));
            }
            if (!history.measured(column_)) return Verdict::unmeasured;
            if (!warned_) {
                TORCH_WARN(who, ": \"", column_, "\" is ", value, " in epoch ", history.last("epoch"),
                           ", which counts as worse than any other value");
            }
            warned_ = true;
            return Verdict::worse;
        }
        const bool better =
            best_epoch_ < 0 || (goal_ == Goal::maximize ? value > best_ + margin : value < best_ - margin);
        if (better) {
            best_ = value;
            best_epoch_ = static_cast<std::int64_t>(history.last("epoch"));
        }
        return better ? Verdict::better : Verdict::worse;
    }
    void checkpoint(Archive& archive) {
        archive.expect("column", column_);
        archive("best", best_);
        archive("best_epoch", best_epoch_);
    }
    double best() const { return best_; }
    std::int64_t best_epoch() const { return best_epoch_; }

  private:
    std::string column_;
    Goal goal_;
    double best_ = std::numeric_limits<double>::quiet_NaN();
    std::int64_t best_epoch_ = -1;
    bool warned_ = false;  // of a value that is not finite
};

}  // namespace detail
}  // namespace retort
