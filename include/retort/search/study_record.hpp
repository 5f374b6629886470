// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contents of a study, as plain data.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace retort::search {

/// The state of a trial.
enum class TrialState {
    running,   ///< a process works on it, or did until it died
    complete,  ///< ended with a value
    pruned,    ///< was not promoted at a rung
    failed,    ///< its objective threw, or its processes died repeatedly
};

/// `running`, `complete`, `pruned` or `failed`.
inline std::string state_name(TrialState state) {
    static constexpr std::string_view names[] = {"running", "complete", "pruned", "failed"};
    return std::string(names[static_cast<std::size_t>(state)]);
}

/// A trial of a study.
struct TrialRecord {
    std::int64_t number = 0;  ///< from 0, in order of their start
    TrialState state = TrialState::running;
    std::vector<std::string> words{};  ///< the choices, by variable
    std::int64_t seed = 0;
    std::optional<double> value{};  ///< what the objective returned; only if complete
    std::string reason{};           ///< why it failed
    std::int64_t attempt = 1;       ///< how often it was started or resumed
    std::string worker{};           ///< the last worker: host and process
    std::vector<std::pair<std::int64_t, double>> reports{};  ///< steps and values, ascending
};

/// The decision when a trial reached a rung. Replaying a study's reports in this order by its rule gives the same
/// decisions.
struct Decision {
    std::int64_t trial = 0;
    std::int64_t rung = 0;
    double value = 0;
    bool promoted = false;

    friend bool operator==(const Decision&, const Decision&) = default;
};

/// A snapshot of a study.
struct StudyRecord {
    std::map<std::string, std::string> settings{};  ///< space, pruning, seed, and the user's settings
    std::vector<TrialRecord> trials{};              ///< by number
    std::vector<Decision> decisions{};              ///< in the order they were made

    std::size_t count(TrialState state) const {
        return static_cast<std::size_t>(std::count_if(
            trials.begin(), trials.end(), [&](const TrialRecord& each) { return each.state == state; }));
    }
    /// The complete trials, the smallest value first; among equal values the one started first.
    /// \param most maximum number of trials
    std::vector<TrialRecord> best(std::size_t most = static_cast<std::size_t>(-1)) const {
        std::vector<TrialRecord> result;
        for (const TrialRecord& each : trials) {
            if (each.state == TrialState::complete) result.push_back(each);
        }
        std::sort(result.begin(), result.end(), [](const TrialRecord& a, const TrialRecord& b) {
            return std::pair(*a.value, a.number) < std::pair(*b.value, b.number);
        });
        if (result.size() > most) result.resize(most);
        return result;
    }
};

}  // namespace retort::search
