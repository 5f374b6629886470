// SPDX-License-Identifier: BSL-1.0
/// \file
/// uint8 images as numbers from 0 to 1.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <retort/data/augment/images.hpp>

namespace retort::data {

/// uint8 samples divided by 255, as float32; floating-point samples stay as they are.
/// \throws ShapeError for samples of any other type.
struct ToUnitRange {
    at::Tensor operator()(const at::Tensor& images, at::Generator& /*generator*/) const {
        return detail::unit_range(images, "ToUnitRange");
    }
};

}  // namespace retort::data
