// SPDX-License-Identifier: BSL-1.0
/// \file
/// One weight per term of a `Knowledge`.
#pragma once

#include <array>
#include <cstddef>
#include <tuple>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/schedule/constant.hpp>

namespace retort {

/// One schedule per term of a `Knowledge`, in the same order. A plain number is a constant:
///
///     retort::Schedule{0.1, 0.9, retort::Exponential{.initial = 100.0, .factor = 0.7}}
/// \throws ConfigError on construction, if the options of a schedule are invalid.
template <class... S>
class Schedule {
    static_assert((WeightSchedule<S> && ...),
                  "retort: every element of a Schedule is a number or has a member double weight(const "
                  "retort::Progress&) const");

  public:
    static constexpr std::size_t size = sizeof...(S);

    Schedule()
        requires(sizeof...(S) > 0)
        : Schedule(S{}...) {}
    template <class... T>
        requires(sizeof...(T) == sizeof...(S))
    explicit Schedule(const T&... schedules) : schedules_{detail::to_schedule(schedules)...} {
        std::apply([](const auto&... each) { (detail::check_policy(each), ...); }, schedules_);
    }

    /// The weights at this progress.
    std::array<double, size> weights(const Progress& progress) const {
        return std::apply(
            [&](const auto&... each) {
                return std::array<double, size>{static_cast<double>(each.weight(progress))...};
            },
            schedules_);
    }

    /// Stores or sets the state of those that have state.
    void checkpoint(Archive& archive) {
        std::size_t position = 0;
        std::apply(
            [&](auto&... each) {
                (detail::archive_policy(archive, detail::concat("weight", position++), each), ...);
            },
            schedules_);
    }

  private:
    std::tuple<S...> schedules_;
};

template <class... T>
Schedule(const T&...) -> Schedule<detail::as_schedule<T>...>;

}  // namespace retort
