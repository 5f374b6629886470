// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that ramps up to that of another schedule.
#pragma once

#include <concepts>

#include <retort/detail/check.hpp>
#include <retort/schedule/constant.hpp>
#include <retort/schedule/schedule_adaptor.hpp>

namespace retort {

/// Options of `WarmUp`.
struct WarmUpOptions {
    double epochs = 5.0;   ///< length; above 0
    double initial = 0.0;  ///< share of the weight at the start
    Every every = Every::step;
};

/// Scales another schedule, or a number, by a factor that grows linearly to 1 over the first epochs.
///
///     retort::WarmUp{retort::Cosine{.every = retort::Every::step}, {.epochs = 5}}
///
/// Formula: \f$ w = w' \cdot \min(1, \text{initial} + (1 - \text{initial}) \, e / \text{epochs}) \f$ with the number of
/// elapsed epochs e and the weight \f$ w' \f$ of the other schedule, which sees the whole run.
template <WeightSchedule S = Constant>
class WarmUp : public ScheduleAdaptor<S> {
  public:
    explicit WarmUp(WarmUpOptions options = {}) : options_(options) {}
    /// \param schedule a schedule or a number
    template <class T>
        requires std::same_as<detail::as_schedule<T>, S>
    explicit WarmUp(const T& schedule, WarmUpOptions options = {})
        : ScheduleAdaptor<S>(detail::to_schedule(schedule)), options_(options) {}

    double weight(const Progress& progress) const {
        const WarmUpOptions& o = options_;
        const double share = detail::elapsed_share("WarmUp", progress, o.epochs, o.every);
        return this->schedule().weight(progress) * (o.initial + (1.0 - o.initial) * share);
    }
    void check() const {
        detail::check_range("WarmUp", "a number of epochs", options_.epochs, detail::above(0));
        detail::check_finite("WarmUp", "initial share", options_.initial);
        ScheduleAdaptor<S>::check();
    }

  private:
    WarmUpOptions options_;
};

WarmUp(WarmUpOptions) -> WarmUp<Constant>;
template <class T>
WarmUp(const T&) -> WarmUp<detail::as_schedule<T>>;
template <class T>
WarmUp(const T&, WarmUpOptions) -> WarmUp<detail::as_schedule<T>>;

}  // namespace retort
