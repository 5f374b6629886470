// SPDX-License-Identifier: BSL-1.0
/// \file
/// The batch that a loader hands out.
#pragma once

#include <ATen/core/Tensor.h>

#include <retort/core/batch.hpp>

namespace retort::data {

/// Some samples of a data set, on the data set's device.
struct Batch {
    /// The samples after the loader's transform: B x ...
    at::Tensor input;
    /// Their targets: B class indices (int64), or undefined where the data set has none.
    at::Tensor target;
    /// Which samples of the data set these are: B numbers (int64).
    at::Tensor index;

    /// `retort::to_device(batch, device)`: the batch with all its tensors on `device`.
    friend Batch to_device(const Batch& batch, at::Device device) {
        return {::retort::to_device(batch.input, device), ::retort::to_device(batch.target, device),
                ::retort::to_device(batch.index, device)};
    }
};

}  // namespace retort::data
