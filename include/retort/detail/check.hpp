// SPDX-License-Identifier: BSL-1.0
/// \file
/// Checks of tensors, and their messages.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/isfinite.h>

#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

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

inline void check_floating(std::string_view where, std::string_view what, const at::Tensor& tensor) {
    if (!tensor.is_floating_point()) {
        throw ShapeError(
            concat(where, ": expected ", what, " of a floating-point type, found ", tensor.scalar_type()));
    }
}

/// Logits are [batch, classes], with at least one class, and floating-point.
/// \param may_be_empty whether a batch of no samples is allowed
inline void check_logits(std::string_view where, std::string_view what, const at::Tensor& logits,
                         bool may_be_empty = false) {
    check_defined(where, what, logits);
    if (logits.dim() != 2 || logits.size(1) == 0 || (logits.size(0) == 0 && !may_be_empty)) {
        throw ShapeError(
            concat(where, ": expected ", what, " of shape [batch, classes], found ", shape_text(logits)));
    }
    check_floating(where, what, logits);
}

/// Logits of any number of dimensions, [batch, classes, ...].
inline void check_class_scores(std::string_view where, std::string_view what, const at::Tensor& logits) {
    check_defined(where, what, logits);
    if (logits.dim() < 2 || logits.numel() == 0) {
        throw ShapeError(concat(where, ": expected ", what,
                                " of shape [batch, classes] or [batch, classes, ...], found ",
                                shape_text(logits)));
    }
    check_floating(where, what, logits);
}

/// The shape of the targets of logits [batch, classes, ...], as text.
inline std::string without_classes(const at::Tensor& logits) {
    std::vector<std::int64_t> sizes = logits.sizes().vec();
    sizes.erase(sizes.begin() + 1);
    return concat(at::IntArrayRef(sizes));
}

inline void check_same_device(std::string_view where, std::string_view one_name, const at::Tensor& one,
                              std::string_view other_name, const at::Tensor& other) {
    if (one.device() != other.device()) {
        throw ShapeError(concat(where, ": expected ", one_name, " and ", other_name, " on one device, found ",
                                one.device(), " and ", other.device()));
    }
}

/// Two tensors of equal shape on one device, of any type.
inline void check_equal_shapes(std::string_view where, std::string_view one_name, const at::Tensor& one,
                               std::string_view other_name, const at::Tensor& other) {
    check_defined(where, one_name, one);
    check_defined(where, other_name, other);
    if (one.sizes() != other.sizes()) {
        throw ShapeError(concat(where, ": expected ", one_name, " and ", other_name,
                                " of equal shape, found ", shape_text(one), " and ", shape_text(other)));
    }
    check_same_device(where, one_name, one, other_name, other);
}

/// Two floating-point tensors of equal shape on one device; their types may differ: see `in_one_type`.
inline void check_alike(std::string_view where, std::string_view one_name, const at::Tensor& one,
                        std::string_view other_name, const at::Tensor& other) {
    check_equal_shapes(where, one_name, one, other_name, other);
    check_floating(where, one_name, one);
    check_floating(where, other_name, other);
}

/// Waits for the device.
/// \throws NonFiniteError if an element is NaN or infinite
inline void check_finite_values(std::string_view where, std::string_view what, const at::Tensor& tensor) {
    const at::Tensor values = tensor.detach();
    if (at::isfinite(values).all().item<bool>()) return;
    throw NonFiniteError(concat(where, ": expected finite values in ", what, ", found ",
                                values.isnan().any().item<bool>() ? "NaN" : "an infinity"));
}

/// The values an option may have: finite ones from `low` to `high`.
struct Range {
    double low;
    double high;
    bool with_low;
    bool with_high;

    bool contains(double value) const {
        return std::isfinite(value) && (with_low ? value >= low : value > low) &&
               (with_high ? value <= high : value < high);
    }
    std::string text() const {
        if (std::isinf(high)) return concat(with_low ? " of at least " : " above ", low);
        return concat(with_low ? " in [" : " in (", low, ", ", high, with_high ? ']' : ')');
    }
};
inline Range above(double low) { return {low, std::numeric_limits<double>::infinity(), false, false}; }
inline Range at_least(double low) { return {low, std::numeric_limits<double>::infinity(), true, false}; }
inline Range in_closed(double low, double high) { return {low, high, true, true}; }
inline Range in_open(double low, double high) { return {low, high, false, false}; }
inline Range in_half_open(double low, double high) { return {low, high, true, false}; }

/// \throws ConfigError if an option is not a finite number of this range: "who: expected what in range, found value"
template <class Number>
void check_range(std::string_view who, std::string_view what, Number value, const Range& range) {
    if (!range.contains(static_cast<double>(value)))
        throw ConfigError(concat(who, ": expected ", what, range.text(), ", found ", value));
}
/// \throws ConfigError if an option is not finite
inline void check_finite(std::string_view who, std::string_view what, double value) {
    if (!std::isfinite(value))
        throw ConfigError(concat(who, ": expected a finite ", what, ", found ", value));
}

/// Throws ConfigError if the options of a policy are invalid; a policy need not have a `check`.
template <class Policy>
void check_policy(const Policy& policy) {
    if constexpr (requires { policy.check(); }) policy.check();
}

}  // namespace retort::detail
