// SPDX-License-Identifier: BSL-1.0
/// \file
/// The base of schedules that hold other schedules.
#pragma once

#include <cstddef>
#include <string_view>
#include <tuple>
#include <utility>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/schedule/concept.hpp>
#include <retort/schedule/constant.hpp>

namespace retort {

/// The base of schedules that hold other schedules: checks and stores them. A derived class defines the weight.
///
///     template <retort::WeightSchedule S>
///     struct Doubled : retort::ScheduleAdaptor<S> {
///         double weight(const retort::Progress& progress) const { return 2 * this->schedule().weight(progress); }
///     };
///     template <class S>
///     Doubled(S) -> Doubled<S>;
///
///     retort::Schedule{1.0, Doubled{retort::Cosine{}}}
template <WeightSchedule... S>
class ScheduleAdaptor {
  public:
    static constexpr bool counts_run_epochs = (detail::counts_run_epochs<S> || ...);

    ScheduleAdaptor() = default;
    // Not explicit, so that a derived aggregate is initialized with its schedules first.
    explicit(false) ScheduleAdaptor(S... schedules) : schedules_(std::move(schedules)...) {}

    /// The schedule; the first of several.
    const auto& schedule() const { return std::get<0>(schedules_); }
    const std::tuple<S...>& schedules() const { return schedules_; }

    /// \throws ConfigError if the options of a schedule are invalid
    void check() const {
        std::apply([](const auto&... each) { (detail::check_policy(each), ...); }, schedules_);
    }
    /// Stores or sets the state of the schedules.
    void checkpoint(Archive& archive) {
        std::size_t position = 0;
        std::apply(
            [&](auto&... each) {
                (detail::archive_policy(archive, detail::concat("schedule", position++), each), ...);
            },
            schedules_);
    }

  private:
    std::tuple<S...> schedules_{};
};

}  // namespace retort
