// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teacher choice: the node that knows the data best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <retort/community/offer.hpp>

namespace retort::community {

/// The node to which the data are least strange; where its labels cannot be trusted, the next.
struct Best {
    static constexpr bool one = true;

    std::vector<std::size_t> order(const std::vector<Offer>& offers, std::uint64_t) const {
        std::vector<std::size_t> result;
        for (std::size_t i = 0; i < offers.size(); ++i) {
            if (offers[i].verdict.known) result.push_back(i);
        }
        return result;
    }
    static std::string name() { return "best"; }
};

}  // namespace retort::community
