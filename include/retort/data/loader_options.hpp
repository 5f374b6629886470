// SPDX-License-Identifier: BSL-1.0
/// \file
/// How a loader iterates over its data set.
#pragma once

#include <cstdint>

#include <retort/core/error.hpp>
#include <retort/data/chunks.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/prefetch.hpp>

namespace retort::data {

/// How a loader iterates over its data set.
struct LoaderOptions {
    /// Samples in a batch; the last one of an epoch may have fewer.
    std::int64_t batch_size = 64;
    /// A new random order for every epoch; otherwise always that of the data set.
    bool shuffle = true;
    /// Leave out the last batch of an epoch if it is not full.
    bool drop_last = false;
    /// Orders and transforms depend only on this, not on the workers.
    std::uint64_t seed = 0;
    /// Threads that make the batches of `loader(epoch)`; 0: each batch is made on request.
    std::int64_t workers = 1;
    /// How many batches they make ahead of the one in use, at least 1.
    std::int64_t prefetch = 2;
    /// Number of epochs after which orders and transforms repeat: epoch e has the same batches as epoch e mod `cycle`,
    /// so that a teacher's outputs for it can be cached (`retort::Cached`). 0: no epoch repeats.
    std::int64_t cycle = 0;
};

namespace detail {

/// Throws unless a loader with these options can iterate over `dataset`.
inline void check(const Dataset& dataset, const LoaderOptions& options) {
    using ::retort::detail::concat;
    check(PrefetchOptions{.workers = options.workers, .depth = options.prefetch});
    if (options.cycle < 0)
        throw ConfigError(concat("loader: expected a cycle of 0 or more epochs, found ", options.cycle));
    if (dataset.size() < 1)
        throw DataError("loader: expected a data set of at least one sample, found an empty one");
    if (chunk_count(dataset.size(), options.batch_size, options.drop_last) == 0) {
        throw ConfigError(
            concat("loader: expected at least one batch in an epoch, found none: ", dataset.size(),
                   " samples do not fill a batch of ", options.batch_size, ", and drop_last leaves it out"));
    }
}

}  // namespace detail
}  // namespace retort::data
