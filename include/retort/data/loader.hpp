// SPDX-License-Identifier: BSL-1.0
/// \file
/// The batches of a data set, epoch by epoch.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/index_select.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/data/augment/no_transform.hpp>
#include <retort/data/batch.hpp>
#include <retort/data/chunks.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/fingerprint.hpp>
#include <retort/data/epoch_order.hpp>
#include <retort/data/loader_options.hpp>
#include <retort/data/map.hpp>
#include <retort/data/one_view.hpp>
#include <retort/data/prefetch.hpp>

namespace retort::data {

namespace detail {

/// Makes a batch of the samples with the chosen numbers.
struct Gather {
    Dataset dataset;
    std::uint64_t seed;
    std::int64_t epoch;
    std::int64_t first;

    Batch operator()(const at::Tensor& chosen, std::int64_t position) const {
        auto index = ::retort::to_device(chosen, dataset.inputs.device());
        auto samples = at::index_select(dataset.inputs, 0, index);
        auto targets = dataset.labeled() ? at::index_select(dataset.targets, 0, index) : at::Tensor{};
        return {std::move(samples), std::move(targets), std::move(index),
                BatchRandom(seed, epoch, first + position)};
    }
};

}  // namespace detail

/// The batches of a data set. `loader(epoch)`, which `fit` calls, is an input view of that epoch's batches, prefetched
/// by worker threads. `loader.epoch(epoch)` is the start of a pipeline: the same batches, each made when it is
/// dereferenced.
///
/// ```cpp
/// namespace data = retort::data;
/// const data::Loader train{dataset, {.batch_size = 128, .seed = 1}, data::cifar100_train()};
/// for (auto& batch : train(3)) ...
/// for (auto& batch : train.epoch(3) | ranges::views::take(10) | data::prefetch(2)) ...
/// ```
/// The third argument is a transform, without which the samples are those of the data set, uint8 images as
/// uint8; or a view policy (see concept.hpp), such as `TwoViews{weak, strong}` or `RotatedViews{transform}`, which
/// determines what batches contain.
///
/// The order of the samples is a pure function of seed and epoch; a batch's random numbers are one of seed, epoch and
/// the batch's number. So the batches do not depend on the number of workers and the prefetch depth, and any epoch can
/// be made without the earlier ones.
///
/// A view keeps what it needs: the loader need not outlive it. Batches are on the data set's device.
template <class Views = NoTransform>
    requires Transform<Views> || ViewPolicy<Views>
class Loader {
  public:
    /// \throws ConfigError if an option is out of its range or an epoch would have no batch; DataError if the
    /// data set is empty.
    explicit Loader(Dataset dataset, LoaderOptions options = {}, Views views = {})
        : dataset_(std::move(dataset)), options_(options), views_{std::move(views)} {
        detail::check(dataset_, options_);
    }

    /// The batches of epoch `epoch`, 0 or more, from batch number `first` on, as a view of known size. Earlier ones are
    /// not made.
    /// \throws ConfigError if the epoch is negative; DataError if the epoch has fewer batches than `first`. Exceptions
    /// of transforms propagate from the view.
    auto epoch(std::int64_t epoch, std::int64_t first = 0) const {
        if (options_.cycle > 0 && epoch > 0) epoch %= options_.cycle;
        const auto order = epoch_order(dataset_.size(),
                                       {.seed = options_.seed, .epoch = epoch, .shuffle = options_.shuffle});
        if (first < 0 || first > size()) {
            throw DataError(::retort::detail::concat("loader: expected a first batch from 0 to the ", size(),
                                                     " of an epoch, found ", first));
        }
        const auto skipped = std::min(first * options_.batch_size, dataset_.size());
        return chunks(order.narrow(0, skipped, dataset_.size() - skipped), options_.batch_size,
                      options_.drop_last) |
               map(detail::Gather{dataset_, options_.seed, epoch, first}) | map(views_);
    }

    /// `epoch(epoch, first) | prefetch(...)` with the workers and the depth of the options.
    auto operator()(std::int64_t epoch, std::int64_t first = 0) const {
        return this->epoch(epoch, first) |
               prefetch(PrefetchOptions{.workers = options_.workers, .depth = options_.prefetch});
    }

    /// The number of batches in an epoch.
    std::int64_t size() const {
        return chunk_count(dataset_.size(), options_.batch_size, options_.drop_last);
    }
    const Dataset& dataset() const { return dataset_; }
    const LoaderOptions& options() const { return options_; }

    /// What the batches depend on, as text: checkpoints compare it. The data set is identified by a hash of its contents,
    /// which is computed once; of more than 256 MiB by that of evenly spaced samples.
    std::string description() const {
        return ::retort::detail::concat(
            dataset_.size(), " samples (contents ", fingerprint_.of(dataset_), ") in batches of ",
            options_.batch_size, options_.shuffle ? ", shuffled" : ", in order",
            options_.drop_last ? ", full batches only" : "", ", seed ", options_.seed,
            options_.cycle > 0 ? ::retort::detail::concat(", a cycle of ", options_.cycle, " epochs")
                               : std::string(),
            ", ", detail::description_of(views_));
    }

  private:
    template <class V>
    struct Policy : std::type_identity<V> {};
    template <Transform V>
    struct Policy<V> : std::type_identity<OneView<V>> {};

    Dataset dataset_;
    detail::LazyFingerprint fingerprint_;
    LoaderOptions options_;
    typename Policy<Views>::type views_;
};

}  // namespace retort::data
