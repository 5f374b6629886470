// SPDX-License-Identifier: BSL-1.0
/// \file
/// A batch with two views of each sample.
#pragma once

#include <ATen/core/Tensor.h>

#include <retort/core/batch.hpp>
#include <retort/data/batch_random.hpp>

namespace retort::data {

/// Some samples of a data set in two views, on its device.
struct TwoViewBatch {
    /// The samples after the weak transform: B x ...
    at::Tensor input;
    /// The same samples after the strong transform: B x ...
    at::Tensor strong;
    /// Their targets: B class indices (int64), or undefined if the data set has none.
    at::Tensor target;
    /// Which samples of the data set these are: B numbers (int64).
    at::Tensor index;
    /// The random numbers for transforms of the batch.
    BatchRandom random = {};

    /// `retort::to_device(batch, device)`: the batch with all its tensors on `device`.
    friend TwoViewBatch to_device(const TwoViewBatch& batch, at::Device device) {
        return {::retort::to_device(batch.input, device), ::retort::to_device(batch.strong, device),
                ::retort::to_device(batch.target, device), ::retort::to_device(batch.index, device),
                batch.random};
    }
};

}  // namespace retort::data
