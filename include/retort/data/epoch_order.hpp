// SPDX-License-Identifier: BSL-1.0
/// \file
/// The order in which an epoch visits the samples.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randperm.h>

#include <cstdint>

#include <retort/core/error.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// Which order: see `epoch_order`.
struct EpochOrderOptions {
    std::uint64_t seed = 0;
    std::int64_t epoch = 0;
    bool shuffle = true;
};

/// The numbers from 0 to `count` - 1 (int64, CPU): a permutation that depends only on seed and epoch, so that any
/// epoch's order can be computed without the earlier ones; ascending without `shuffle`.
/// \throws ConfigError if `count` or the epoch is negative.
inline at::Tensor epoch_order(std::int64_t count, EpochOrderOptions options = {}) {
    using ::retort::detail::concat;
    if (count < 0) throw ConfigError(concat("epoch_order: expected a count of 0 or more, found ", count));
    if (options.epoch < 0)
        throw ConfigError(concat("epoch_order: expected an epoch of 0 or more, found ", options.epoch));
    if (!options.shuffle) return at::arange(count, at::TensorOptions(at::kLong));
    auto generator = detail::make_generator({options.seed, static_cast<std::uint64_t>(options.epoch)},
                                            detail::Stream::order);
    return at::randperm(count, generator, at::TensorOptions(at::kLong));
}

}  // namespace retort::data
