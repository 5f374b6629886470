// SPDX-License-Identifier: BSL-1.0
/// \file
/// The batches of a data set with each sample seen twice: weakly and strongly augmented.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/loader_options.hpp>
#include <retort/data/two_view_batch.hpp>
#include <retort/detail/type_name.hpp>

namespace retort::data {

/// A loader whose batches hold two views of each sample: `views(epoch)` is an input range of `TwoViewBatch`.
/// All that is said of `Loader` holds here too; order and weak views are those of a `Loader` with the same
/// data set, options and transform. The two views of a sample draw their random numbers independently.
///
/// ```cpp
/// retort::data::TwoViews batches{
///     dataset, {.seed = 1}, retort::data::cifar100_train(), retort::data::cifar100_strong()};
/// ```
template <Transform Weak, Transform Strong>
class TwoViews {
  public:
    /// \throws ConfigError if an option is out of its range or an epoch would have no batch; DataError if the
    /// data set is empty.
    TwoViews(Dataset dataset, LoaderOptions options, Weak weak, Strong strong)
        : dataset_(std::move(dataset)),
          options_(options),
          weak_(std::move(weak)),
          strong_(std::move(strong)) {
        detail::check(dataset_, options_);
    }

    /// The batches of epoch `epoch`, 0 or more, from batch number `first` on. Those before are not made.
    /// \throws ConfigError if the epoch is negative; DataError if the epoch has fewer batches than `first`. What the
    /// transforms throw comes out of the range.
    auto operator()(std::int64_t epoch, std::int64_t first = 0) const {
        epoch = detail::drawn_epoch(options_, epoch);
        const auto seed = options_.seed;
        return detail::epoch_batches(
            dataset_, options_, epoch, first,
            [seed, epoch, weak = weak_, strong = strong_](at::Tensor samples, at::Tensor targets,
                                                          at::Tensor index, std::int64_t number) {
                const auto generator = [&](detail::Stream stream) {
                    return detail::make_generator(
                        {seed, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(number)},
                        stream);
                };
                return TwoViewBatch{
                    detail::transformed(weak, samples, generator(detail::Stream::transform)),
                    detail::transformed(strong, samples, generator(detail::Stream::strong_transform)),
                    std::move(targets), std::move(index)};
            });
    }

    /// The number of batches in an epoch.
    std::int64_t size() const {
        return chunk_count(dataset_.size(), options_.batch_size, options_.drop_last);
    }
    /// What the batches depend on, in words: checkpoints remember it.
    std::string description() const {
        return detail::describe(dataset_, options_,
                                ::retort::detail::text(::retort::detail::type_name<Weak>(), " and ",
                                                       ::retort::detail::type_name<Strong>()));
    }
    const Dataset& dataset() const { return dataset_; }
    const LoaderOptions& options() const { return options_; }

  private:
    Dataset dataset_;
    LoaderOptions options_;
    Weak weak_;
    Strong strong_;
};

}  // namespace retort::data
