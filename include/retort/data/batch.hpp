// SPDX-License-Identifier: BSL-1.0
/// \file
/// The batch that a loader yields.
#pragma once

#include <ATen/core/Tensor.h>

#include <retort/core/batch.hpp>
#include <retort/data/batch_random.hpp>

namespace retort::data {

/// Some samples of a data set, on its device.
struct Batch {
    /// The samples: B x ...
    at::Tensor input;
    /// Their targets: B class indices (int64), or undefined if the data set has none.
    at::Tensor target;
    /// Which samples of the data set these are: B numbers (int64).
    at::Tensor index;
    /// The random numbers for transforms of the batch.
    BatchRandom random = {};

    /// `retort::to_device(batch, device)`: the batch with all its tensors on `device`.
    friend Batch to_device(const Batch& batch, at::Device device) {
        return {::retort::to_device(batch.input, device), ::retort::to_device(batch.target, device),
                ::retort::to_device(batch.index, device), batch.random};
    }
};

}  // namespace retort::data
