// SPDX-License-Identifier: BSL-1.0
/// \file
/// The batches of a data set, epoch by epoch.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/data/augment/no_transform.hpp>
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
template <Transform TransformPolicy = NoTransform>
class Loader : public detail::LoaderBase {
  public:
    /// \throws ConfigError if an option is out of its range or an epoch would have no batch; DataError if the
    /// data set is empty.
    explicit Loader(Dataset dataset, LoaderOptions options = {}, TransformPolicy transform = {})
        : LoaderBase(std::move(dataset), options), transform_(std::move(transform)) {}

    /// The batches of epoch `epoch`, 0 or more, from batch number `first` on. Those before are not made.
    /// \throws ConfigError if the epoch is negative; DataError if the epoch has fewer batches than `first`. What the
    /// transform throws comes out of the range.
    auto operator()(std::int64_t epoch, std::int64_t first = 0) const {
        return batches(epoch, first,
                       [transform = transform_](at::Tensor samples, at::Tensor targets, at::Tensor index,
                                                const auto& random) {
                           return Batch{
                               detail::transformed(transform, samples, random(detail::Stream::transform)),
                               std::move(targets), std::move(index)};
                       });
    }

    /// What the batches depend on, in words: checkpoints remember it.
    std::string description() const { return describe(::retort::detail::type_name<TransformPolicy>()); }

  private:
    TransformPolicy transform_;
};

}  // namespace retort::data
