// SPDX-License-Identifier: BSL-1.0
/// \file
/// The transform that changes nothing.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

namespace retort::data {

/// Returns the samples unchanged.
struct NoTransform {
    at::Tensor operator()(at::Tensor images, at::Generator& /*generator*/) const { return images; }
};

}  // namespace retort::data
