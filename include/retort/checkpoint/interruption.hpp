// SPDX-License-Identifier: BSL-1.0
/// \file
/// SIGINT and SIGTERM as requests to end after the current step.
#pragma once

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <mutex>

namespace retort {

namespace detail {

/// While one of these lives, the first SIGINT or SIGTERM is recorded instead of ending the program; a second one has
/// its previous effect. A signal that the program ignores stays ignored.
class StopSignals {
  public:
    StopSignals() {
        const std::lock_guard lock(mutex());
        if (users()++ > 0) return;
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            struct sigaction now{};
            ::sigaction(numbers[i], nullptr, &before()[i]);
            if (before()[i].sa_handler == SIG_IGN) continue;
            now.sa_handler = &StopSignals::handle;
            ::sigemptyset(&now.sa_mask);
            now.sa_flags = SA_RESTART;
            ::sigaction(numbers[i], &now, nullptr);
        }
    }
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;
    ~StopSignals() {
        const std::lock_guard lock(mutex());
        if (--users() == 0) restore();
    }

    /// The signal received; 0 if none.
    static std::atomic<int>& received() {
        static std::atomic<int> signal = 0;
        return signal;
    }

  private:
    static constexpr std::array<int, 2> numbers{SIGINT, SIGTERM};
    static std::array<struct sigaction, 2>& before() {
        static std::array<struct sigaction, 2> actions{};
        return actions;
    }
    static std::mutex& mutex() {
        static std::mutex one;
        return one;
    }
    static int& users() {
        static int count = 0;
        return count;
    }
    static void restore() {
        for (std::size_t i = 0; i < numbers.size(); ++i) ::sigaction(numbers[i], &before()[i], nullptr);
    }
    static_assert(std::atomic<int>::is_always_lock_free);
    static void handle(int signal) {
        received() = signal;
        restore();
    }
};

}  // namespace detail

/// Whether a run with a `Checkpoint` has received SIGINT or SIGTERM. The run has then ended early and can be resumed,
/// and no other run with a `Checkpoint` starts a step, so that a program with several training runs ends.
inline bool interrupted() { return detail::StopSignals::received() != 0; }
/// Clears it.
inline void clear_interruption() { detail::StopSignals::received() = 0; }

}  // namespace retort
