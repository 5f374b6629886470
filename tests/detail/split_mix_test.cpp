// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <bit>
#include <cmath>

#include <retort/detail/split_mix.hpp>

namespace split_mix_test {

using retort::detail::split_mix;
using retort::detail::SplitMix64;

// The first numbers from seed 1234567, as published by the generator's authors.
static_assert(split_mix(1234567) == 6457827717110365317U);
static_assert(split_mix(1234567 + SplitMix64::increment) == 3203168211198807973U);
static_assert(split_mix(1234567 + 2 * SplitMix64::increment) == 9817491932198370423U);

TEST_CASE("SplitMix64 flips half of the bits if its argument changes in one") {
    // Over all 64 single bits of 64 numbers: 32 on average, with a standard
    // deviation of 4 / 64.
    int flipped = 0;
    for (std::uint64_t x = 0; x < 64; ++x) {
        for (int bit = 0; bit < 64; ++bit) {
            flipped += std::popcount(split_mix(x) ^ split_mix(x ^ (std::uint64_t{1} << bit)));
        }
    }
    CHECK(std::abs(flipped / 4096.0 - 32) < 0.4);
}

}  // namespace split_mix_test
