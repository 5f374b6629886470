// SPDX-License-Identifier: BSL-1.0
/// \file
/// Applies a transform, and checks what it returns.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <string>

#include <retort/core/error.hpp>

namespace retort::data::detail {

/// \throws ShapeError unless the transform returns as many samples as it gets
template <class TransformPolicy>
at::Tensor transformed(const TransformPolicy& transform, const at::Tensor& samples, at::Generator generator) {
    using ::retort::detail::concat;
    at::Tensor result = transform(samples, generator);
    if (!result.defined() || result.dim() < 1 || result.size(0) != samples.size(0)) {
        throw ShapeError(
            concat("transform: expected one sample for each, found ", samples.sizes(), " turned into ",
                   result.defined() ? concat(result.sizes()) : std::string("an undefined tensor")));
    }
    return result;
}

}  // namespace retort::data::detail
