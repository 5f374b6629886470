// SPDX-License-Identifier: BSL-1.0
/// \file
/// The options that all loaders share, and what they have in common.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/index_select.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/data/chunks.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/epoch_order.hpp>
#include <retort/data/prefetch.hpp>
#include <retort/data/random.hpp>

namespace retort::data {

/// How a loader goes through its data set.
struct LoaderOptions {
    /// Samples in a batch; the last one of an epoch may have fewer.
    std::int64_t batch_size = 64;
    /// Each epoch in an order of its own, or always in that of the data set.
    bool shuffle = true;
    /// Leave out the last batch of an epoch if it is not full.
    bool drop_last = false;
    /// Orders and transforms depend on this alone, not on the workers.
    std::uint64_t seed = 0;
    /// Threads that make batches; 0 makes each when it is asked for.
    std::int64_t workers = 1;
    /// Batches made ahead of the one in use, at least 1.
    std::int64_t prefetch = 2;
    /// Epochs after which orders and transforms come again: epoch e is epoch e mod `cycle` once more, batch for batch,
    /// so that what a teacher said of it can be kept (`retort::Cached`). 0: no epoch comes again.
    std::int64_t cycle = 0;
};

namespace detail {

/// Throws unless a loader can go through `dataset` like that.
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

/// Applies `transform` to `samples` and checks that it gives as many.
template <class TransformPolicy>
at::Tensor transformed(const TransformPolicy& transform, const at::Tensor& samples, at::Generator generator) {
    at::Tensor result = transform(samples, generator);
    if (!result.defined() || result.dim() < 1 || result.size(0) != samples.size(0)) {
        throw ShapeError(
            ::retort::detail::concat("loader: expected a transform that gives one sample for each, found ",
                                     samples.sizes(), " turned into ",
                                     result.defined() ? ::retort::detail::concat(result.sizes())
                                                      : std::string("an undefined tensor")));
    }
    return result;
}

/// What all loaders are: a data set, gone through as the options say. They differ in what makes a batch of the samples.
class LoaderBase {
  public:
    /// The number of batches in an epoch.
    std::int64_t size() const {
        return chunk_count(dataset_.size(), options_.batch_size, options_.drop_last);
    }
    const Dataset& dataset() const { return dataset_; }
    const LoaderOptions& options() const { return options_; }

  protected:
    LoaderBase(Dataset dataset, LoaderOptions options) : dataset_(std::move(dataset)), options_(options) {
        check(dataset_, options_);
    }

    /// What the batches depend on, in words.
    std::string describe(std::string_view transform) const {
        return ::retort::detail::concat(
            dataset_.size(), " samples in batches of ", options_.batch_size,
            options_.shuffle ? ", shuffled" : ", in order", options_.drop_last ? ", full batches only" : "",
            ", seed ", options_.seed,
            options_.cycle > 0 ? ::retort::detail::concat(", a cycle of ", options_.cycle, " epochs")
                               : std::string(),
            ", ", transform);
    }

    /// The batches of an epoch, from number `first` on. `make(samples, targets, index, random)` makes each of them, on
    /// a worker; `random(stream)` is a generator of the batch's own.
    template <class Make>
    auto batches(std::int64_t epoch, std::int64_t first, Make make) const {
        if (options_.cycle > 0 && epoch > 0) epoch %= options_.cycle;
        auto order = epoch_order(dataset_.size(),
                                 {.seed = options_.seed, .epoch = epoch, .shuffle = options_.shuffle});
        if (first < 0 || first > size()) {
            throw DataError(::retort::detail::concat("loader: expected a first batch from 0 to the ", size(),
                                                     " of an epoch, found ", first));
        }
        const auto skipped = std::min(first * options_.batch_size, dataset_.size());
        order = order.narrow(0, skipped, dataset_.size() - skipped);
        const auto device = dataset_.inputs.device();
        // What workers do on a GPU goes into the stream that is the consumer's now, so that it is done before the
        // consumer's own work; a thread's own stream would be another one where the consumer has chosen one.
        const auto stream =
            device.is_cpu()
                ? std::nullopt
                : std::optional<c10::Stream>(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
        auto build = [dataset = dataset_, device, stream, first, seed = options_.seed, epoch,
                      make = std::move(make)](const at::Tensor& chosen, std::int64_t number) {
            const auto guard = stream ? std::make_unique<c10::StreamGuard>(*stream) : nullptr;
            auto index = ::retort::to_device(chosen, device);
            auto samples = at::index_select(dataset.inputs, 0, index);
            auto targets = dataset.labeled() ? at::index_select(dataset.targets, 0, index) : at::Tensor{};
            const auto random = [&](Stream purpose) {
                return make_generator(
                    {seed, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(first + number)},
                    purpose);
            };
            return make(std::move(samples), std::move(targets), std::move(index), random);
        };
        return prefetch(chunks(std::move(order), options_.batch_size, options_.drop_last),
                        {.workers = options_.workers, .depth = options_.prefetch}, std::move(build));
    }

  private:
    Dataset dataset_;
    LoaderOptions options_;
};

}  // namespace detail
}  // namespace retort::data
