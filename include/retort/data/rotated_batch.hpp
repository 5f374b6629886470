// SPDX-License-Identifier: BSL-1.0
/// \file
/// A batch with four views of each sample: as it is, and rotated by 90, 180 and 270 degrees.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/rot90.h>
#include <ATen/ops/stack.h>

#include <cstdint>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/data/batch_random.hpp>
#include <retort/data/detail/images.hpp>

namespace retort::data {

/// Each image in four views: plain, and rotated counterclockwise by 90, 180 and 270 degrees.
/// Shapes: [batch, channels, size, size] to [4 * batch, channels, size, size], the views of an image next to each
/// other, the plain one first.
/// \throws ShapeError if these are not square images
inline at::Tensor rotated(const at::Tensor& images) {
    detail::expect_images(images, "rotated");
    if (images.size(2) != images.size(3)) {
        throw ShapeError(::retort::detail::concat("rotated: expected square images, found ", images.sizes()));
    }
    return at::stack({images, at::rot90(images, 1, {2, 3}), at::rot90(images, 2, {2, 3}),
                      at::rot90(images, 3, {2, 3})},
                     1)
        .flatten(0, 1);
}

/// Some samples of a data set, each in four views (see `rotated`), on its device.
struct RotatedBatch {
    static constexpr std::int64_t views = 4;
    /// The views: 4 B x ...
    at::Tensor input;
    /// The targets of the samples: B class indices (int64), or undefined if the data set has none.
    at::Tensor target;
    /// Which samples of the data set these are: B numbers (int64).
    at::Tensor index;
    /// The random numbers for transforms of the batch.
    BatchRandom random = {};

    /// `retort::to_device(batch, device)`: the batch with all its tensors on `device`.
    friend RotatedBatch to_device(const RotatedBatch& batch, at::Device device) {
        return {::retort::to_device(batch.input, device), ::retort::to_device(batch.target, device),
                ::retort::to_device(batch.index, device), batch.random};
    }
};

}  // namespace retort::data
