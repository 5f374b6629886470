// SPDX-License-Identifier: BSL-1.0
/// \file
/// Checks of tensors, and their messages.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include <retort/core/error.hpp>

namespace retort::detail {

/// `[64, 10]`.
inline std::string shape_text(at::IntArrayRef sizes) {
    std::string result = "[";
    for (const std::int64_t size : sizes) {
        if (result.size() > 1) result += ", ";
        result += std::to_string(size);
    }
    return result + "]";
}
inline std::string shape_text(const at::Tensor& tensor) {
    return tensor.defined() ? shape_text(tensor.sizes()) : "an undefined tensor";
}

inline void check_defined(std::string_view where, std::string_view what, const at::Tensor& tensor) {
    if (!tensor.defined()) {
        throw ShapeError(concat(where, ": expected ", what, " to be a tensor, found an undefined one"));
    }
}

/// Logits are [batch, classes], with at least one of each, and floating-point.
inline void check_logits(std::string_view where, std::string_view what, const at::Tensor& logits) {
    check_defined(where, what, logits);
    if (logits.dim() != 2 || logits.numel() == 0) {
        throw ShapeError(
            concat(where, ": expected ", what, " of shape [batch, classes], found ", shape_text(logits)));
    }
    if (!logits.is_floating_point()) {
        throw ShapeError(
            concat(where, ": expected ", what, " of a floating-point type, found ", logits.scalar_type()));
    }
}

inline void check_same_device(std::string_view where, std::string_view one_name, const at::Tensor& one,
                              std::string_view other_name, const at::Tensor& other) {
    if (one.device() != other.device()) {
        throw ShapeError(concat(where, ": expected ", one_name, " and ", other_name, " on one device, found ",
                                one.device(), " and ", other.device()));
    }
}

/// Two tensors of equal shape on one device.
inline void check_alike(std::string_view where, std::string_view one_name, const at::Tensor& one,
                        std::string_view other_name, const at::Tensor& other) {
    check_defined(where, one_name, one);
    check_defined(where, other_name, other);
    if (one.sizes() != other.sizes()) {
        throw ShapeError(concat(where, ": expected ", one_name, " and ", other_name,
                                " of equal shape, found ", shape_text(one), " and ", shape_text(other)));
    }
    check_same_device(where, one_name, one, other_name, other);
}

/// Throws ConfigError where the options of a policy make no sense; a policy may have no `check`.
template <class Policy>
void check_policy(const Policy& policy) {
    if constexpr (requires { policy.check(); }) policy.check();
}

}  // namespace retort::detail
