// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a self-assessment sees of some samples.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// Samples as a self-assessment sees them. A tensor may be undefined where the assessment does not use it.
struct Evidence {
    at::Tensor input{};     ///< [samples, ...], as the network gets it
    at::Tensor features{};  ///< [samples, features]: what the trunk makes of it
    at::Tensor logits{};    ///< [samples, classes], of the head of the task
    at::Tensor target{};    ///< [samples], class indices (int64); undefined: no labels

    std::int64_t size() const {
        for (const at::Tensor* each : {&input, &features, &logits}) {
            if (each->defined() && each->dim() > 0) return each->size(0);
        }
        return 0;
    }
};

/// Which of the tensors a self-assessment looks at.
enum class Space {
    input,     ///< the inputs, flattened: does not go stale when the trunk learns
    features,  ///< the trunk's features: fit anew whenever the trunk has learned (a `Node` does)
    logits,    ///< the logits
};

namespace detail {

/// The rows of a space in float64, [samples, values].
inline at::Tensor rows_of(const Evidence& evidence, Space space, const char* who) {
    const at::Tensor& tensor = space == Space::input      ? evidence.input
                               : space == Space::features ? evidence.features
                                                          : evidence.logits;
    const char* what = space == Space::input ? "inputs" : space == Space::features ? "features" : "logits";
    if (!tensor.defined() || tensor.dim() < 1 || tensor.size(0) < 1) {
        throw ShapeError(::retort::detail::concat(
            who, ": expected ", what, " of at least one sample, found ",
            tensor.defined() ? ::retort::detail::shape_text(tensor) : std::string("an undefined tensor")));
    }
    return tensor.detach().to(at::kDouble).reshape({tensor.size(0), -1});
}

}  // namespace detail
}  // namespace retort::community
