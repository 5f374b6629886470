// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that falls when a measurement no longer improves.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/goal.hpp>
#include <retort/schedule/concept.hpp>

namespace retort {

/// Options of `Plateau`.
struct PlateauOptions {
    std::string column = "validation_accuracy";  ///< of the history
    Goal goal = Goal::maximize;
    double factor = 0.1;  ///< of each reduction, in (0, 1)
    /// Number of epochs without improvement to tolerate; the next one reduces. At least 0.
    std::int64_t patience = 10;
    double threshold = 1e-4;    ///< minimum difference that counts as an improvement; at least 0
    bool relative = true;       ///< whether the threshold is relative to the best value
    std::int64_t cooldown = 0;  ///< number of epochs ignored after a reduction; at least 0
    double minimum = 0.0;       ///< the weight falls no lower; in [0, 1]
};

/// A weight, initially 1, that is multiplied by a factor when a column of the history no longer improves. A schedule
/// and a callback in one; copies share the measurements, so one object serves one training. Place it after the
/// callback that fills the column:
///
///     retort::Plateau plateau{{.column = "validation_accuracy", .patience = 5}};
///     retort::Trainer trainer{..., retort::WithLearningRate{retort::Sgd{.learning_rate = 0.1},
///                                                           retort::WarmUp{plateau, {.epochs = 5}}}};
///     trainer.fit(batches, {.epochs = 100}, retort::Validation{validation_batches}, plateau);
///
/// The rule is that of `ReduceLROnPlateau` in Python's torch. Epochs without a value in the column are ignored; a value
/// that is NaN or infinite is no improvement.
class Plateau {
  public:
    /// \throws ConfigError if an option is out of range
    explicit Plateau(PlateauOptions options = {}) : options_(std::move(options)) { check(); }

    /// The weight in an epoch, from the values of earlier epochs.
    /// \throws ConfigError if one of these is missing: the plateau was not passed to `fit`
    double weight(const Progress& progress) const {
        const auto seen = static_cast<std::int64_t>(state_->weights.size());
        if (progress.epoch > seen) {
            throw ConfigError(detail::concat("Plateau: expected to see each epoch before epoch ",
                                             progress.epoch, ", found ", seen,
                                             ": is the plateau among the callbacks of fit?"));
        }
        return progress.epoch == 0 ? 1.0 : state_->weights[static_cast<std::size_t>(progress.epoch - 1)];
    }
    void check() const {
        const PlateauOptions& o = options_;
        detail::check_range("Plateau", "a factor", o.factor, detail::in_open(0, 1));
        detail::check_range("Plateau", "a minimum", o.minimum, detail::in_closed(0, 1));
        detail::check_range("Plateau", "a patience", o.patience, detail::at_least(0));
        detail::check_range("Plateau", "a cooldown", o.cooldown, detail::at_least(0));
        detail::check_range("Plateau", "a threshold", o.threshold, detail::at_least(0));
    }

    // The callback. Templates, so that schedules do not depend on the trainer.
    template <class Context>
    void on_fit_begin(Context& context) const {
        if (context.history.has(options_.column)) return;
        throw ConfigError(
            detail::concat("Plateau: expected a column \"", options_.column,
                           "\" in the history, found none of that name; place the callback that fills it "
                           "(such as Validation) before this one"));
    }
    template <class Context>
    void on_epoch_end(Context& context) {
        State& state = *state_;
        const double value = context.history.last(options_.column);
        const double before = state.weights.empty() ? 1.0 : state.weights.back();
        state.weights.push_back(context.history.measured(options_.column) ? after(value, before) : before);
    }
    /// Stores or restores what was seen.
    template <class Archive>
    void checkpoint(Archive& archive) {
        archive("weights", state_->weights);
        archive("best", state_->best);
        archive("waited", state_->waited);
        archive("rest", state_->rest);
    }

  private:
    struct State {
        std::vector<double> weights{};  // after each epoch
        double best = std::numeric_limits<double>::quiet_NaN();
        std::int64_t waited = 0;
        std::int64_t rest = 0;  // remaining epochs of the cooldown
    };

    double after(double value, double before) {
        State& state = *state_;
        if (std::isfinite(value) && (std::isnan(state.best) || better(value, state.best))) {
            state.best = value;
            state.waited = 0;
        } else {
            ++state.waited;
        }
        if (state.rest > 0) {
            --state.rest;
            state.waited = 0;
        }
        if (state.waited <= options_.patience) return before;
        state.rest = options_.cooldown;
        state.waited = 0;
        return std::min(before, std::max(before * options_.factor, options_.minimum));
    }
    bool better(double value, double best) const {
        const double sign = options_.goal == Goal::maximize ? 1.0 : -1.0;
        return sign * value > sign * (options_.relative ? best * (1 + sign * options_.threshold)
                                                        : best + sign * options_.threshold);
    }

    PlateauOptions options_;
    std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace retort
