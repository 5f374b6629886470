// SPDX-License-Identifier: BSL-1.0
/// \file
/// A critical period that ends based on a measurement during training.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <retort/core/network.hpp>
#include <retort/schedule/concept.hpp>

namespace retort {

/// Options of `AdaptiveCriticalPeriod`. Unless a source is named, the defaults are this library's choice.
struct AdaptiveCriticalPeriodOptions {
    double initial = 100.0;     ///< weight while the period lasts (as in `CriticalPeriod`)
    double factor = 0.7;        ///< of the decay after it, in [0, 1); 0 ends it immediately
    double fall = 0.5;          ///< ends below this fraction of the largest measure so far, in (0, 1)
    double smoothing = 0.0;     ///< weight of earlier measures in the running mean, in [0, 1)
    std::int64_t patience = 1;  ///< number of consecutive epochs; at least 1
    std::int64_t least = 1;     ///< minimum length in epochs; at least 1
    std::int64_t most = 0;      ///< maximum length in epochs; 0: unlimited
};

/// A critical period that ends when the network stops changing fast, while `CriticalPeriod` decays from the first
/// epoch on. A schedule and a callback in one; copies share the measurements, so one object serves one training:
///
///     retort::AdaptiveCriticalPeriod period{{.fall = 0.5}};
///     retort::Trainer trainer{student, auxiliary, knowledge, retort::Schedule{1.0, period}, optimizer};
///     trainer.fit(batches, {.epochs = 50}, period);
///
/// The measure of each epoch k, \f$ m_k \f$, is the mean over the steps of the gradient norm (of everything trained,
/// all terms with their weights), or the value of a custom function at the end of the epoch, such as
/// `metrics::fisher_trace`. With \f$ s_k = \beta s_{k-1} + (1 - \beta) m_k \f$ (\f$ s_0 = m_0 \f$) the period ends
/// after the first epoch \f$ e \ge \text{least} - 1 \f$ where \f$ s_k < \text{fall} \cdot \max_{j \le k} s_j \f$ for
/// the last `patience` epochs, or after `most` epochs. The weight is `initial` up to there and \f$ \text{initial}
/// \cdot \text{factor}^{k - e} \f$ afterwards: constant while it is measured, so that the schedule does not see its
/// own decay.
///
/// Source of the idea: Achille, Rovere, Soatto, "Critical Learning Periods in Deep Networks", ICLR 2019: the trace of
/// the Fisher information rises while connections form, and falls when the period is over. The rule is this
/// library's.
///
/// The history gets the column `critical_period_measure`. Measures that are not finite count as missing. Waits for
/// the device once per epoch.
class AdaptiveCriticalPeriod {
  public:
    /// Measures the norm of the gradient.
    /// \throws ConfigError if an option is out of range
    explicit AdaptiveCriticalPeriod(AdaptiveCriticalPeriodOptions options = {}) : options_(options) {
        check();
    }
    /// Measures with a function called at the end of every epoch: `double measure()`.
    AdaptiveCriticalPeriod(AdaptiveCriticalPeriodOptions options, std::function<double()> measure)
        : options_(options), measure_(std::move(measure)) {
        check();
        if (!measure_)
            throw ConfigError("AdaptiveCriticalPeriod: expected a measure, found an empty function");
    }

    /// The weight in an epoch, from the measures of earlier epochs.
    /// \throws ConfigError if one of these is missing: the period was not passed to `fit`
    double weight(const Progress& progress) const {
        const auto measured = static_cast<std::int64_t>(state_->measures.size());
        if (progress.epoch > measured) {
            throw ConfigError(detail::concat(
                "AdaptiveCriticalPeriod: expected a measure of each epoch before epoch ", progress.epoch,
                ", found ", measured, ": is the period among the callbacks of fit?"));
        }
        const std::optional<std::int64_t> last = last_epoch(progress.epoch);
        if (!last) return options_.initial;
        return options_.initial * std::pow(options_.factor, static_cast<double>(progress.epoch - *last));
    }
    /// The last epoch of the period (from 0), if known yet.
    std::optional<std::int64_t> last_epoch() const {
        return last_epoch(static_cast<std::int64_t>(state_->measures.size()));
    }
    /// The measures, by epoch.
    const std::vector<double>& measures() const { return state_->measures; }

    void check() const {
        const AdaptiveCriticalPeriodOptions& o = options_;
        detail::check_finite("AdaptiveCriticalPeriod", "initial value", o.initial);
        detail::check_range("AdaptiveCriticalPeriod", "a factor", o.factor, detail::in_half_open(0, 1));
        detail::check_range("AdaptiveCriticalPeriod", "a fall", o.fall, detail::in_open(0, 1));
        detail::check_range("AdaptiveCriticalPeriod", "a smoothing", o.smoothing, detail::in_half_open(0, 1));
        detail::check_range("AdaptiveCriticalPeriod", "a patience", o.patience, detail::at_least(1));
        detail::check_range("AdaptiveCriticalPeriod", "a least length", o.least, detail::at_least(1));
        if (o.most != 0)
            detail::check_range("AdaptiveCriticalPeriod", "a most length", o.most,
                                detail::at_least(static_cast<double>(o.least)));
    }

    // The callback. Templates, so that schedules do not depend on the trainer.
    template <class Context>
    void on_fit_begin(Context& context) {
        context.history.declare("critical_period_measure");
    }
    template <class Context>
    void on_gradients(Context& context) {
        if (measure_) return;
        const at::NoGradGuard no_grad;
        const std::vector<at::Tensor> gradients = detail::gradients_of(context.parameters);
        if (gradients.empty()) return;
        const at::Tensor norm = at::stack(at::_foreach_norm(gradients)).norm();
        State& state = *state_;
        const bool first = state.epoch != context.progress.epoch;
        state.epoch = context.progress.epoch;
        state.sum = first ? norm : state.sum + norm;
        state.steps = first ? 1 : state.steps + 1;
    }
    template <class Context>
    void on_epoch_end(Context& context) {
        State& state = *state_;
        const auto epoch = static_cast<std::size_t>(context.progress.epoch);
        double measure = std::numeric_limits<double>::quiet_NaN();
        if (measure_) {
            measure = measure_();
        } else if (state.epoch == context.progress.epoch && state.steps > 0) {
            measure = state.sum.template item<double>() / static_cast<double>(state.steps);
        }
        // A run that returns to an earlier epoch discards the later measures; epochs without the callback are not
        // measured.
        state.measures.resize(std::min(epoch, state.measures.size()));
        if (state.measures.size() == epoch) state.measures.push_back(measure);
        state.epoch = -1;
        state.steps = 0;
        state.sum = at::Tensor();
        if (!std::isnan(measure)) context.history.set("critical_period_measure", measure);
    }
    /// Stores or restores the measures.
    template <class Archive>
    void checkpoint(Archive& archive) {
        archive("measures", state_->measures);
        archive("epoch", state_->epoch);
        archive("steps", state_->steps);
        archive("sum", state_->sum);
    }

  private:
    struct State {
        std::vector<double> measures{};
        std::int64_t epoch = -1;  // the epoch of the sum
        std::int64_t steps = 0;
        at::Tensor sum{};
    };

    /// From the measures of the first `epochs` epochs.
    std::optional<std::int64_t> last_epoch(std::int64_t epochs) const {
        double smooth = std::numeric_limits<double>::quiet_NaN();
        double largest = 0;
        std::int64_t low = 0;
        for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
            const double measure = state_->measures[static_cast<std::size_t>(epoch)];
            if (std::isfinite(measure)) {
                smooth = std::isnan(smooth)
                             ? measure
                             : options_.smoothing * smooth + (1 - options_.smoothing) * measure;
                largest = std::max(largest, smooth);
                low = smooth < options_.fall * largest ? low + 1 : 0;
            }
            const std::int64_t length = epoch + 1;
            if (length >= options_.least && low >= options_.patience) return epoch;
            if (options_.most > 0 && length >= options_.most) return epoch;
        }
        return std::nullopt;
    }

    AdaptiveCriticalPeriodOptions options_;
    std::function<double()> measure_;
    std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace retort
