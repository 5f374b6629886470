// SPDX-License-Identifier: BSL-1.0
/// \file
/// Each sample in four rotations.
#pragma once

#include <string>
#include <utility>

#include <retort/data/augment/no_transform.hpp>
#include <retort/data/batch.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/map.hpp>
#include <retort/data/one_view.hpp>
#include <retort/data/rotated_batch.hpp>

namespace retort::data {

/// A view policy: a `Batch` becomes a `RotatedBatch` with each sample four times, transformed and then rotated by 0,
/// 90, 180 and 270 degrees. The plain views are those of a loader with that transform. A batch of 64 samples is 256
/// images.
///
/// ```cpp
/// retort::data::Loader batches{
///     dataset, {.batch_size = 64}, retort::data::RotatedViews{retort::data::cifar100_train()}};
/// ```
/// Called on a batch, it throws ShapeError if the transform returns images that are not square.
template <Transform TransformPolicy = NoTransform>
struct RotatedViews {
    TransformPolicy transform;

    RotatedBatch operator()(Batch batch) const {
        batch = OneView<TransformPolicy>{transform}(std::move(batch));
        return {rotated(batch.input), std::move(batch.target), std::move(batch.index), batch.random};
    }
    std::string description() const {
        return detail::described("RotatedViews", "transform", detail::description_of(transform));
    }
};
template <class TransformPolicy>
RotatedViews(TransformPolicy) -> RotatedViews<TransformPolicy>;

/// A stage of a pipeline: `loader.epoch(3) | rotated_views(transform)`.
template <Transform TransformPolicy = NoTransform>
auto rotated_views(TransformPolicy transform = {}) {
    return map(RotatedViews<TransformPolicy>{std::move(transform)});
}

}  // namespace retort::data
