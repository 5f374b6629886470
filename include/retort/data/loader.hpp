// SPDX-License-Identifier: BSL-1.0
/// \file
/// The batches of a data set, epoch by epoch.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/data/augment/identity.hpp>
#include <retort/data/batch.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/loader_options.hpp>
#include <retort/detail/type_name.hpp>

namespace retort::data {

/// Hands out the batches of a data set: `loader(epoch)` is an input range of `Batch` for that epoch, made
/// ahead on threads, of known size.
///
/// The order of the samples is a pure function of seed and epoch, a batch's random numbers one of seed, epoch
/// and the batch's number. So the batches are the same whatever the number of workers and the prefetch depth,
/// and any epoch can be had without the earlier ones.
///
/// A range keeps what it needs: the loader may go before it. Batches are on the data set's device.
///
/// ```cpp
/// retort::data::Loader batches{dataset, {.batch_size = 128, .seed = 1}, retort::data::cifar100_train()};
/// for (auto& batch : batches(epoch)) ...
/// ```
/// Without a transform the samples come as they are in the data set, uint8 images as uint8.
template <Transform TransformPolicy = Identity>
class Loader {
  public:
    /// \throws ConfigError if an option is out of its range or an epoch would have no batch; DataError if the
    /// data set is empty.
    explicit Loader(Dataset dataset, LoaderOptions options = {}, TransformPolicy transform = {})
        : dataset_(std::move(dataset)), options_(options), transform_(std::move(transform)) {
        detail::check(dataset_, options_);
    }

    /// The batches of epoch `epoch`, 0 or more, from batch number `first` on. Those before are not made.
    /// \throws ConfigError if the epoch is negative; DataError if the epoch has fewer batches than `first`. What the
    /// transform throws comes out of the range.
    auto operator()(std::int64_t epoch, std::int64_t first = 0) const {
        epoch = detail::drawn_epoch(options_, epoch);
        const auto seed = options_.seed;
        return detail::epoch_batches(
            dataset_, options_, epoch, first,
            [seed, epoch, transform = transform_](at::Tensor samples, at::Tensor targets, at::Tensor index,
                                                  std::int64_t number) {
                const auto generator = detail::make_generator(
                    {seed, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(number)},
                    detail::Stream::transform);
                return Batch{detail::transformed(transform, samples, generator), std::move(targets),
                             std::move(index)};
            });
    }

    /// The number of batches in an epoch.
    std::int64_t size() const {
        return chunk_count(dataset_.size(), options_.batch_size, options_.drop_last);
    }
    /// What the batches depend on, in words: checkpoints remember it.
    std::string description() const {
        return detail::describe(dataset_, options_, ::retort::detail::type_name<TransformPolicy>());
    }
    const Dataset& dataset() const { return dataset_; }
    const LoaderOptions& options() const { return options_; }

  private:
    Dataset dataset_;
    LoaderOptions options_;
    TransformPolicy transform_;
};

}  // namespace retort::data
