// SPDX-License-Identifier: BSL-1.0
/// \file
/// Batches on another device.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include <retort/core/batch.hpp>
#include <retort/data/map.hpp>

namespace retort::data {

namespace detail {

struct MoveTo {
    at::Device device;

    template <::retort::Batch B>
    B operator()(B batch) const {
        return ::retort::to_device(std::move(batch), device);
    }
};

}  // namespace detail

/// A stage of a pipeline: `batches | to_device(device)` yields the batches with their tensors on `device`, as
/// `retort::to_device(batch, device)` does. With a `prefetch` after it, the copies start before a step needs them.
inline auto to_device(at::Device device) { return map(detail::MoveTo{device}); }

}  // namespace retort::data
