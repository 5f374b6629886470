// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a connector: maps a student's feature to the shape of the teacher's.
///
/// | expression | meaning |
/// |---|---|
/// | `c.sized()` | required; whether the options specify all sizes |
/// | `c.build(student_sizes, teacher_sizes)` | required; a module holder whose `forward` maps a student's feature; the sizes are empty if `sized()` |
/// | `c.name()` | required; for messages |
///
/// A minimal example:
///
///     struct Halve {
///         bool sized() const { return true; }
///         auto build(at::IntArrayRef, at::IntArrayRef) const { return torch::nn::AvgPool2d(2); }
///         static std::string name() { return "Halve"; }
///     };
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>

namespace retort {

/// A connector: builds a module that maps a student's feature.
template <class C>
concept Connector = requires(const C& connector, at::IntArrayRef sizes) {
    { connector.sized() } -> std::convertible_to<bool>;
    connector.build(sizes, sizes)->forward(at::Tensor());
    { std::string(connector.name()) };
};

namespace detail {

inline std::int64_t channels(std::string_view where, at::IntArrayRef sizes) {
    if (sizes.size() < 2) {
        throw ShapeError(
            concat(where, ": expected features of shape [batch, channels, ...], found ", shape_text(sizes)));
    }
    return sizes[1];
}

/// Height and width of feature maps.
inline std::pair<std::int64_t, std::int64_t> spatial_sizes(std::string_view where, at::IntArrayRef sizes) {
    if (sizes.size() != 4) {
        throw ShapeError(concat(where,
                                ": expected features of shape [batch, channels, height, width], found ",
                                shape_text(sizes)));
    }
    return {sizes[2], sizes[3]};
}

/// \throws ShapeError if a feature is not [batch, channels, height, width]
inline void check_map(std::string_view where, const at::Tensor& feature, std::int64_t channels) {
    if (feature.dim() != 4 || feature.size(1) != channels) {
        throw ShapeError(concat(where, ": expected a feature of shape [batch, ", channels,
                                ", height, width], found ", shape_text(feature)));
    }
}

}  // namespace detail
}  // namespace retort
