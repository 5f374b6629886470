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
class TwoViews : public detail::LoaderBase {
  public:
    /// \throws ConfigError if an option is out of its range or an epoch would have no batch; DataError if the
    /// data set is empty.
    TwoViews(Dataset dataset, LoaderOptions options, Weak weak, Strong strong)
        : LoaderBase(std::move(dataset), options), weak_(std::move(weak)), strong_(std::move(strong)) {}

    /// The batches of epoch `epoch`, 0 or more, from batch number `first` on. Those before are not made.
    /// \throws ConfigError if the epoch is negative; DataError if the epoch has fewer batches than `first`. What the
    /// transforms throw comes out of the range.
    auto operator()(std::int64_t epoch, std::int64_t first = 0) const {
        return batches(epoch, first,
                       [weak = weak_, strong = strong_](at::Tensor samples, at::Tensor targets,
                                                        at::Tensor index, const auto& random) {
                           return TwoViewBatch{
                               detail::transformed(weak, samples, random(detail::Stream::transform)),
                               detail::transformed(strong, samples, random(detail::Stream::strong_transform)),
                               std::move(targets), std::move(index)};
                       });
    }

    /// What the batches depend on, in words: checkpoints remember it.
    std::string description() const {
        return describe(::retort::detail::concat(::retort::detail::type_name<Weak>(), " and ",
                                                 ::retort::detail::type_name<Strong>()));
    }

  private:
    Weak weak_;
    Strong strong_;
};

}  // namespace retort::data
