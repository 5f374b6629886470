// SPDX-License-Identifier: BSL-1.0
/// \file
/// Evaluates the student at the end of every epoch.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <retort/callback/concept.hpp>
#include <retort/core/batch_source.hpp>
#include <retort/core/error.hpp>
#include <retort/metrics/accuracy.hpp>
#include <retort/metrics/concept.hpp>
#include <retort/metrics/evaluate.hpp>

namespace retort {

/// Evaluates the student at the end of every epoch, and writes `validation_<metric>` to the history (in a cohort, for
/// every learner i: `validation_<metric>_i`):
///
///     retort::Validation{validation_batches}    // the column validation_accuracy
///     retort::Validation{validation_batches, retort::metrics::TopK{5}, retort::metrics::Agreement{}}
///
/// A second set of batches needs a different name for its columns:
///
///     retort::Validation{test_batches}.named("test")    // the column test_accuracy
///
/// Batches passed as an rvalue are stored by value, an lvalue is held by reference. Metrics whose `value()` is a
/// single number become columns. Two callbacks of a run that would write the same column are a ConfigError at the
/// start of `fit`.
template <class Source, class... Metrics>
class Validation {
  public:
    explicit Validation(Source&& source)
        requires(sizeof...(Metrics) > 0)
        : Validation(std::forward<Source>(source), Metrics{}...) {}
    explicit Validation(Source&& source, Metrics... metrics)
        : source_(std::forward<Source>(source)), metrics_(std::move(metrics)...) {
        static_assert(
            BatchSource<std::remove_reference_t<Source>>,
            "retort: batches come from an input range of batches, or from a callable that takes the epoch "
            "(std::int64_t) and returns such a range");
    }
    /// Evaluate only every so many epochs, and after the last.
    Validation& every(std::int64_t epochs) & {
        set_every(epochs);
        return *this;
    }
    Validation&& every(std::int64_t epochs) && {
        set_every(epochs);
        return std::move(*this);
    }
    /// The prefix of the column names, in place of `validation`.
    Validation& named(std::string name) & {
        name_ = std::move(name);
        return *this;
    }
    Validation&& named(std::string name) && {
        name_ = std::move(name);
        return std::move(*this);
    }

    void on_fit_begin(auto& context) {
        each_network(context.trainer, [&](const std::string& suffix, auto&&) {
            std::apply([&](const auto&... metric) { (context.claim(column(metric, suffix)), ...); },
                       metrics_);
        });
    }
    void on_epoch_end(auto& context) {
        const Progress& progress = context.progress;
        if ((progress.epoch + 1) % every_ != 0 && progress.epoch + 1 != progress.epochs) return;
        each_network(context.trainer, [&](const std::string& suffix, auto&& measure) {
            const auto store = [&](const auto& measured) {
                context.history.set(column(measured, suffix), static_cast<double>(measured.value()));
            };
            if constexpr (sizeof...(Metrics) == 1) {
                store(std::apply(measure, metrics_));
            } else {
                std::apply([&](const auto&... measured) { (store(measured), ...); },
                           std::apply(measure, metrics_));
            }
        });
    }

  private:
    void set_every(std::int64_t epochs) {
        if (epochs < 1) {
            throw ConfigError(
                detail::concat("Validation: expected an interval of at least 1 epoch, found ", epochs));
        }
        every_ = epochs;
    }
    /// Calls `function(suffix, measure)` for the student of a trainer, or every learner of a cohort.
    template <class Trainer, class F>
    void each_network(Trainer& trainer, F&& function) {
        if constexpr (requires { trainer.learners(); }) {
            for (std::size_t i = 0; i < trainer.size(); ++i) {
                function(detail::concat('_', i),
                         [&](const auto&... metric) { return trainer.evaluate(i, source_, metric...); });
            }
        } else {
            function(std::string(),
                     [&](const auto&... metric) { return trainer.evaluate(source_, metric...); });
        }
    }
    template <class M>
    std::string column(const M& metric, const std::string& suffix) const {
        return detail::concat(name_, '_', metric.name(), suffix);
    }
    Source source_;  // a value or a reference
    std::tuple<Metrics...> metrics_;
    std::int64_t every_ = 1;
    std::string name_ = "validation";
};

template <class Source>
Validation(Source&&) -> Validation<Source, metrics::Accuracy>;
template <class Source, class... Metrics>
    requires(sizeof...(Metrics) > 0)
Validation(Source&&, Metrics...) -> Validation<Source, Metrics...>;

}  // namespace retort
