// SPDX-License-Identifier: BSL-1.0
/// \file
/// Random numbers as a pure function of a counter, and constant-time draws from a distribution; all in tensor
/// operators, so that a device draws the same numbers as the CPU, without synchronizing.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cstdint>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/split_mix.hpp>

namespace retort::detail {

/// `count` random numbers of 64 bits, as int64: the sequence of SplitMix64 (`split_mix`) from `start`.
/// \param start one int64 number on the drawing device
inline at::Tensor random_bits(const at::Tensor& start, std::int64_t count) {
    const auto constant = [](std::uint64_t bits) { return static_cast<std::int64_t>(bits); };
    at::Tensor result = at::arange(1, count + 1, start.options());
    result.mul_(constant(SplitMix64::increment)).add_(start);
    const auto mix = [&](std::int64_t shift, std::uint64_t factor) {
        // Shifting a signed number extends its sign, which the mask removes.
        result.bitwise_xor_(
            result.bitwise_right_shift(shift).bitwise_and_(constant(~std::uint64_t{0} >> shift)));
        if (factor != 0) result.mul_(constant(factor));
    };
    mix(30, SplitMix64::first_factor);
    mix(27, SplitMix64::second_factor);
    mix(31, 0);
    return result;
}

/// Advances `start` past `count` numbers.
inline void skip_random_bits(at::Tensor& start, std::int64_t count) {
    start.add_(static_cast<std::int64_t>(static_cast<std::uint64_t>(count) * SplitMix64::increment));
}

/// Integers from [0, end) of random bits, for end up to 2^31: uniform up to end / 2^32.
inline at::Tensor integers_of(const at::Tensor& bits, std::int64_t end) {
    return bits.bitwise_right_shift(32)
        .bitwise_and_((std::int64_t{1} << 32) - 1)
        .mul_(end)
        .bitwise_right_shift_(32);
}

/// Draws from a distribution over n outcomes: outcome k of a uniform draw counts with probability
/// `accept[k]`, else `alias[k]` does (Walker, 1977).
struct AliasTable {
    at::Tensor accept;  ///< [n] float32
    at::Tensor alias;   ///< [n] int64
};

/// The table for weights [n], at least 0 and not all 0. Outcomes below the average take the rest of their share from
/// the heavy ones in order; the assignment follows from the running sums of deficits and surpluses, without a loop over
/// the outcomes.
/// \throws ConfigError
inline AliasTable alias_table(const at::Tensor& weights) {
    if (!weights.defined() || weights.dim() != 1 || weights.numel() == 0) {
        throw ConfigError(concat("alias table: expected weights of shape [n], found ", shape_text(weights)));
    }
    const at::Tensor given = weights.to(at::kDouble);
    const double total = given.sum().item<double>();
    if (!(given.min().item<double>() >= 0 && total > 0 && total < 1e300)) {
        throw ConfigError("alias table: expected finite weights of at least 0, not all of them 0");
    }
    const at::Tensor shares = given * (static_cast<double>(given.numel()) / total);
    const at::Tensor light = (shares < 1).nonzero().squeeze(1);
    const at::Tensor heavy = (shares >= 1).nonzero().squeeze(1);
    AliasTable result{shares.clamp(0, 1), at::arange(given.numel(), weights.options().dtype(at::kLong))};
    if (light.numel() > 0 && heavy.numel() > 0) {
        const at::Tensor missing = (1 - shares.index_select(0, light)).cumsum(0);
        const at::Tensor spare = (shares.index_select(0, heavy) - 1).cumsum(0);
        const at::Tensor before = at::cat({at::zeros({1}, missing.options()), missing.slice(0, 0, -1)});
        // A light outcome is supplied by the first heavy one not used up by those before it.
        const std::int64_t last = heavy.numel() - 1;
        const at::Tensor server = at::searchsorted(spare, before).clamp_max(last);
        result.alias.index_copy_(0, light, heavy.index_select(0, server));
        // The light outcome that uses up a heavy one takes more than it has; the next heavy one makes up for it.
        const at::Tensor end = at::searchsorted(missing, spare, /*out_int32=*/false, /*right=*/true);
        const at::Tensor used_up =
            (end < light.numel()).logical_and(at::arange(heavy.numel(), end.options()) < last);
        const at::Tensor over = missing.index_select(0, end.clamp_max(light.numel() - 1)) - spare;
        const at::Tensor next =
            heavy.index_select(0, (at::arange(heavy.numel(), heavy.options()) + 1).clamp_max(last));
        result.accept.index_copy_(0, heavy, at::where(used_up, (1 - over).clamp(0, 1), at::ones_like(over)));
        result.alias.index_copy_(0, heavy, at::where(used_up, next, heavy));
    }
    result.accept = result.accept.to(at::kFloat);
    return result;
}

/// One outcome for each of the random bits.
inline at::Tensor draw(const AliasTable& table, const at::Tensor& bits) {
    const at::Tensor outcome = integers_of(bits, table.alias.numel());
    const at::Tensor level = bits.bitwise_and((std::int64_t{1} << 24) - 1).to(at::kFloat).mul_(0x1p-24);
    return at::where(level < table.accept.index_select(0, outcome), outcome,
                     table.alias.index_select(0, outcome));
}

}  // namespace retort::detail
