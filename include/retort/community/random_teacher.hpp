// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teacher choice: any node, the baseline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/community/offer.hpp>
#include <retort/detail/split_mix.hpp>

namespace retort::community {

/// Any of the nodes that know the data, or any node at all: a baseline.
struct RandomTeacher {
    static constexpr bool one = true;
    bool only_known = true;  ///< false: those that declined, too

    std::vector<std::size_t> order(const std::vector<Offer>& offers, std::uint64_t seed) const {
        std::vector<std::size_t> result;
        for (std::size_t i = 0; i < offers.size(); ++i) {
            if (offers[i].task >= 0 && (offers[i].verdict.known || !only_known)) result.push_back(i);
        }
        for (std::size_t i = result.size(); i > 1; --i) {
            seed = ::retort::detail::split_mix(seed + i);
            std::swap(result[i - 1], result[seed % i]);
        }
        return result;
    }
    static std::string name() { return "random"; }
};

}  // namespace retort::community
