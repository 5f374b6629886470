// SPDX-License-Identifier: BSL-1.0
/// \file
/// Parameters selected by name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/core/network.hpp>

namespace retort::detail {

/// Whether a name matches a pattern with `*` and `?`.
inline bool matches(std::string_view pattern, std::string_view name) {
    std::size_t p = 0, n = 0, star = std::string_view::npos, after = 0;
    while (n < name.size()) {
        if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
            ++p;
            ++n;
        } else if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            after = n;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            n = ++after;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

/// Levenshtein distance: the number of insertions, deletions and substitutions that turn one text into the other.
inline std::size_t edit_distance(std::string_view one, std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < one.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < other.size(); ++j) {
            const std::size_t replaced = diagonal + (one[i] == other[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
        }
    }
    return row.back();
}

/// `; did you mean a, b or c?`: the names nearest to a pattern, at most three; nothing if there are none.
inline std::string did_you_mean(std::string_view pattern, const std::vector<NamedParameter>& parameters) {
    std::vector<std::pair<std::size_t, std::size_t>> near;  // distance and position: the first among equals
    for (std::size_t i = 0; i < parameters.size(); ++i)
        near.emplace_back(edit_distance(pattern, parameters[i].name), i);
    std::sort(near.begin(), near.end());
    near.resize(std::min<std::size_t>(near.size(), 3));
    std::string result;
    for (std::size_t i = 0; i < near.size(); ++i) {
        const char* const before = i == 0 ? "; did you mean " : i + 1 < near.size() ? ", " : " or ";
        result.append(before).append(parameters[near[i].second].name);
    }
    return result.empty() ? result : result + "?";
}

}  // namespace retort::detail
