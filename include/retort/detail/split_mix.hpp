// SPDX-License-Identifier: BSL-1.0
/// \file
/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#pragma once

#include <cstdint>

namespace retort::detail {

/// The constants of SplitMix64, for computing it with tensors.
struct SplitMix64 {
    static constexpr std::uint64_t increment = 0x9e3779b97f4a7c15U;
    static constexpr std::uint64_t first_factor = 0xbf58476d1ce4e5b9U;
    static constexpr std::uint64_t second_factor = 0x94d049bb133111ebU;
};

/// The output of SplitMix64 in state `x`. A bijection that decorrelates neighboring numbers.
constexpr std::uint64_t split_mix(std::uint64_t x) {
    x += SplitMix64::increment;
    x = (x ^ (x >> 30)) * SplitMix64::first_factor;
    x = (x ^ (x >> 27)) * SplitMix64::second_factor;
    return x ^ (x >> 31);
}

}  // namespace retort::detail
