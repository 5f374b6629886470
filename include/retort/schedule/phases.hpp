// SPDX-License-Identifier: BSL-1.0
/// \file
/// Schedules in sequence.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/schedule/concept.hpp>
#include <retort/schedule/constant.hpp>
#include <retort/schedule/schedule_adaptor.hpp>

namespace retort {

/// A schedule for some epochs, or for the rest of the run (`epochs = 0`, the last phase only).
template <class S>
struct Phase {
    std::int64_t epochs = 0;
    S schedule{};
};
template <class S>
Phase(int, S) -> Phase<S>;
template <class S>
Phase(std::int64_t, S) -> Phase<S>;

namespace detail {
template <class First, class... Later>
consteval bool later_phases_count_their_own_epochs() {
    return !(counts_run_epochs<Later> || ...);
}
}  // namespace detail

/// Schedules in sequence. Each phase sees its own progress: its first epoch is 0, and its `epochs` is its length.
///
///     retort::Phases{retort::Phase{30, 1.0}, retort::Phase{0, 0.0}}          // 1 for 30 epochs, then 0
///
/// The last phase continues after its epochs are over. Schedules that measure the run (`Plateau`,
/// `AdaptiveCriticalPeriod`) can only be the first phase: they count the epochs of the run.
template <WeightSchedule... S>
class Phases : public ScheduleAdaptor<S...> {
    static_assert(
        detail::later_phases_count_their_own_epochs<S...>(),
        "retort: only the first of the Phases may be a schedule that measures the run, such as a Plateau; "
        "a later phase counts its epochs from 0");

  public:
    template <class... P>
        requires(sizeof...(P) == sizeof...(S))
    explicit Phases(const Phase<P>&... phases)
        : ScheduleAdaptor<S...>(detail::to_schedule(phases.schedule)...), epochs_{phases.epochs...} {}

    double weight(const Progress& progress) const {
        std::size_t phase = 0;
        Progress own = progress;
        while (phase + 1 < sizeof...(S) && own.epoch >= epochs_[phase]) own.epoch -= epochs_[phase++];
        const std::int64_t rest = progress.epochs - (progress.epoch - own.epoch);
        own.epochs = epochs_[phase] > 0 ? epochs_[phase] : (progress.epochs > 0 ? rest : 0);
        return pick(phase, own, std::index_sequence_for<S...>{});
    }
    void check() const {
        for (std::size_t phase = 0; phase < sizeof...(S); ++phase) {
            const std::int64_t least = phase + 1 < sizeof...(S) ? 1 : 0;
            if (epochs_[phase] < least) {
                throw ConfigError(detail::concat("Phases: expected at least ", least, " epochs in phase ",
                                                 phase, " of ", sizeof...(S), ", found ", epochs_[phase]));
            }
        }
        ScheduleAdaptor<S...>::check();
    }

  private:
    template <std::size_t... I>
    double pick(std::size_t phase, const Progress& progress, std::index_sequence<I...>) const {
        double result = 0;
        ((I == phase ? void(result = std::get<I>(this->schedules()).weight(progress)) : void()), ...);
        return result;
    }
    std::array<std::int64_t, sizeof...(S)> epochs_;
};

template <class... P>
Phases(const Phase<P>&...) -> Phases<detail::as_schedule<P>...>;

}  // namespace retort
