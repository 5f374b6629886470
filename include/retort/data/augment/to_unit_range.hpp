// SPDX-License-Identifier: BSL-1.0
/// \file
/// Converts uint8 images to the range from 0 to 1.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <retort/data/detail/images.hpp>

namespace retort::data {

/// Divides uint8 samples by 255, as float32; floating-point samples are left unchanged.
/// \throws ShapeError for samples of any other type.
struct ToUnitRange {
    at::Tensor operator()(const at::Tensor& images, at::Generator& /*generator*/) const {
        return detail::unit_range(images, "ToUnitRange");
    }
};

}  // namespace retort::data
