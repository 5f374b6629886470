// SPDX-License-Identifier: BSL-1.0
/// \file
/// The random numbers of a batch.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>

#include <retort/core/error.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// Generators that are a pure function of the loader's seed, the epoch, the number of the batch, and how many of them
/// the batch has used. This object is passed on with its batch from stage to stage of a pipeline, so that every stage
/// has its own random numbers, whatever thread it runs on and whatever batches came before.
class BatchRandom {
  public:
    /// That of a batch that does not come from a loader.
    BatchRandom() = default;
    BatchRandom(std::uint64_t seed, std::int64_t epoch, std::int64_t number)
        : seed_(seed), epoch_(epoch), number_(number) {}

    /// The next generator, on the CPU.
    /// \throws ConfigError for a batch that does not come from a loader
    at::Generator next() {
        if (number_ < 0) {
            throw ConfigError(
                "batch: expected random numbers, found none: they come from a data::Loader; a function that "
                "makes a new batch of one must pass on its member `random`");
        }
        const auto epoch = static_cast<std::uint64_t>(epoch_), number = static_cast<std::uint64_t>(number_);
        const auto used = used_++;
        if (used == 0) return detail::make_generator({seed_, epoch, number}, detail::Stream::batch);
        if (used == 1) return detail::make_generator({seed_, epoch, number}, detail::Stream::second_of_batch);
        return detail::make_generator({seed_, epoch, number, used}, detail::Stream::batch);
    }

  private:
    std::uint64_t seed_ = 0;
    std::int64_t epoch_ = 0;
    std::int64_t number_ = -1;
    std::uint64_t used_ = 0;
};

}  // namespace retort::data
