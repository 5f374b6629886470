// SPDX-License-Identifier: BSL-1.0
/// \file
/// The batches of a data set with each sample in four rotations.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/data/augment/no_transform.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/loader_options.hpp>
#include <retort/data/rotated_batch.hpp>
#include <retort/detail/type_name.hpp>

namespace retort::data {

/// A loader whose batches hold each sample four times, behind the transform turned by 0, 90, 180 and 270 degrees:
/// `views(epoch)` is an input range of `RotatedBatch`. All that is said of `Loader` holds here too; order and plain
/// views are those of a `Loader` with the same data set, options and transform. A batch of 64 samples is 256 images.
///
/// ```cpp
/// retort::data::RotatedViews batches{dataset, {.batch_size = 64}, retort::data::cifar100_train()};
/// ```
template <Transform TransformPolicy = NoTransform>
class RotatedViews : public detail::LoaderBase {
  public:
    /// \throws ConfigError if an option is out of its range or an epoch would have no batch; DataError if the
    /// data set is empty.
    explicit RotatedViews(Dataset dataset, LoaderOptions options = {}, TransformPolicy transform = {})
        : LoaderBase(std::move(dataset), options), transform_(std::move(transform)) {}

    /// The batches of epoch `epoch`, 0 or more, from batch number `first` on. Those before are not made.
    /// \throws ConfigError if the epoch is negative; DataError if the epoch has fewer batches than `first`. What the
    /// transform throws comes out of the range, and ShapeError where it gives no images as high as wide.
    auto operator()(std::int64_t epoch, std::int64_t first = 0) const {
        return batches(epoch, first,
                       [transform = transform_](at::Tensor samples, at::Tensor targets, at::Tensor index,
                                                const auto& random) {
                           return RotatedBatch{rotated(detail::transformed(
                                                   transform, samples, random(detail::Stream::transform))),
                                               std::move(targets), std::move(index)};
                       });
    }

    /// What the batches depend on, in words: checkpoints remember it.
    std::string description() const {
        return describe(
            ::retort::detail::concat(::retort::detail::type_name<TransformPolicy>(), " in four rotations"));
    }

  private:
    TransformPolicy transform_;
};

}  // namespace retort::data
