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
    using ::retort::detail::text;
    check(PrefetchOptions{.workers = options.workers, .depth = options.prefetch});
    if (options.cycle < 0)
        throw ConfigError(text("loader: expected a cycle of 0 or more epochs, found ", options.cycle));
    if (dataset.size() < 1)
        throw DataError("loader: expected a data set of at least one sample, found an empty one");
    if (chunk_count(dataset.size(), options.batch_size, options.drop_last) == 0) {
        throw ConfigError(
            text("loader: expected at least one batch in an epoch, found none: ", dataset.size(),
                 " samples do not fill a batch of ", options.batch_size, ", and drop_last leaves it out"));
    }
}

/// The epoch whose random numbers `epoch` uses.
inline std::int64_t drawn_epoch(const LoaderOptions& options, std::int64_t epoch) {
    return options.cycle > 0 && epoch > 0 ? epoch % options.cycle : epoch;
}

/// Applies `transform` to `samples` and checks that it gives as many.
template <class TransformPolicy>
at::Tensor transformed(const TransformPolicy& transform, const at::Tensor& samples, at::Generator generator) {
    at::Tensor result = transform(samples, generator);
    if (!result.defined() || result.dim() < 1 || result.size(0) != samples.size(0)) {
        throw ShapeError(::retort::detail::text(
            "loader: expected a transform that gives one sample for each, found ", samples.sizes(),
            " turned into ",
            result.defined() ? ::retort::detail::text(result.sizes()) : std::string("an undefined tensor")));
    }
    return result;
}

/// What the batches of a loader depend on, in words.
inline std::string describe(const Dataset& dataset, const LoaderOptions& options,
                            std::string_view transform) {
    return ::retort::detail::text(
        dataset.size(), " samples in batches of ", options.batch_size,
        options.shuffle ? ", shuffled" : ", in order", options.drop_last ? ", full batches only" : "",
        ", seed ", options.seed,
        options.cycle > 0 ? ::retort::detail::text(", a cycle of ", options.cycle, " epochs") : std::string(),
        ", ", transform);
}

/// The batches of one epoch, from number `first` on. `make(samples, targets, index, batch number)` makes each of them,
/// on a worker.
template <class Make>
auto epoch_batches(const Dataset& dataset, const LoaderOptions& options, std::int64_t epoch,
                   std::int64_t first, Make make) {
    auto order =
        epoch_order(dataset.size(), {.seed = options.seed, .epoch = epoch, .shuffle = options.shuffle});
    if (const auto count = chunk_count(dataset.size(), options.batch_size, options.drop_last);
        first < 0 || first > count) {
        throw DataError(::retort::detail::text("loader: expected a first batch from 0 to the ", count,
                                               " of an epoch, found ", first));
    }
    const auto skipped = std::min(first * options.batch_size, dataset.size());
    order = order.narrow(0, skipped, dataset.size() - skipped);
    const auto device = dataset.inputs.device();
    // What workers do on a GPU goes into the stream that is the consumer's now, so that it is done before the
    // consumer's own work; a thread's own stream would be another one where the consumer has chosen one.
    const auto stream =
        device.is_cpu()
            ? std::nullopt
            : std::optional<c10::Stream>(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
    auto build = [dataset, device, stream, first, make = std::move(make)](const at::Tensor& chosen,
                                                                          std::int64_t number) {
        const auto guard = stream ? std::make_unique<c10::StreamGuard>(*stream) : nullptr;
        auto index = ::retort::to_device(chosen, device);
        auto samples = at::index_select(dataset.inputs, 0, index);
        auto targets = dataset.labelled() ? at::index_select(dataset.targets, 0, index) : at::Tensor{};
        return make(std::move(samples), std::move(targets), std::move(index), first + number);
    };
    return prefetch(chunks(std::move(order), options.batch_size, options.drop_last),
                    {.workers = options.workers, .depth = options.prefetch}, std::move(build));
}

}  // namespace detail
}  // namespace retort::data
