// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a study holds, as plain data.
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

/// Where a trial stands.
enum class TrialState {
    running,   ///< somebody works on it, or did until the process died
    complete,  ///< came to its end and has a value
    pruned,    ///< was not promoted at a rung
    failed,    ///< its objective threw, or its processes died again and again
};

/// `running`, `complete`, `pruned` or `failed`.
inline std::string state_name(TrialState state) {
    static constexpr std::string_view names[] = {"running", "complete", "pruned", "failed"};
    return std::string(names[static_cast<std::size_t>(state)]);
}

/// A trial of a study.
struct TrialRecord {
    std::int64_t number = 0;  ///< from 0 in the order in which they began
    TrialState state = TrialState::running;
    std::vector<std::string> words{};  ///< what was chosen, by variable
    std::int64_t seed = 0;
    std::optional<double> value{};  ///< what the objective returned; only if complete
    std::string reason{};           ///< why it failed
    std::int64_t attempt = 1;       ///< how often it was begun or taken up again
    std::string worker{};           ///< who worked on it last: host and process
    std::vector<std::pair<std::int64_t, double>> reports{};  ///< steps and values, ascending
};

/// What was decided when a trial came to a rung. All decisions of a study in their order, with the rule that it
/// follows, can be made again and must come out the same.
struct Decision {
    std::int64_t trial = 0;
    std::int64_t rung = 0;
    double value = 0;
    bool promoted = false;

    friend bool operator==(const Decision&, const Decision&) = default;
};

/// A study at a moment.
struct StudyRecord {
    std::map<std::string, std::string> settings{};  ///< space, pruning, seed, and what the user added
    std::vector<TrialRecord> trials{};              ///< by number
    std::vector<Decision> decisions{};              ///< in the order in which they were made

    std::size_t count(TrialState state) const {
        return static_cast<std::size_t>(std::count_if(
            trials.begin(), trials.end(), [&](const TrialRecord& each) { return each.state == state; }));
    }
    /// The complete trials, the smallest value first; of equal values the one that began first.
    /// \param most at most so many
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
