// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by losses on features: checks, norms that are safe at 0, equal spatial sizes, reductions.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <utility>

#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>

namespace retort::detail {

/// Features are [batch, ...] with at least `dimensions` dimensions and one element, and floating-point.
inline void check_feature(std::string_view where, std::string_view what, const at::Tensor& feature,
                          std::int64_t dimensions, std::string_view shape) {
    check_defined(where, what, feature);
    if (feature.dim() < dimensions || feature.numel() == 0) {
        throw ShapeError(
            concat(where, ": expected ", what, " of shape ", shape, ", found ", shape_text(feature)));
    }
    check_floating(where, what, feature);
}

/// Two features of one batch on one device.
inline void check_features(std::string_view where, const at::Tensor& student, const at::Tensor& teacher,
                           std::int64_t dimensions, std::string_view shape) {
    check_feature(where, "the student's feature", student, dimensions, shape);
    check_feature(where, "the teacher's feature", teacher, dimensions, shape);
    if (student.size(0) != teacher.size(0)) {
        throw ShapeError(concat(where, ": expected features of the same samples, found ", shape_text(student),
                                " and ", shape_text(teacher)));
    }
    check_same_device(where, "the student's feature", student, "the teacher's feature", teacher);
}

/// The same, in one type.
inline TensorPair feature_pair(std::string_view where, const at::Tensor& student, const at::Tensor& teacher,
                               std::int64_t dimensions, std::string_view shape) {
    check_features(where, student, teacher, dimensions, shape);
    return in_one_type(student, teacher);
}

/// Two features of equal shape, in one type.
inline TensorPair equal_features(std::string_view where, const at::Tensor& student, const at::Tensor& teacher,
                                 std::int64_t dimensions = 1, std::string_view shape = "[batch, ...]") {
    check_alike(where, "the student's feature", student, "the teacher's feature", teacher);
    return feature_pair(where, student, teacher, dimensions, shape);
}

/// Equal numbers of channels.
inline void check_channels(std::string_view where, const at::Tensor& student, const at::Tensor& teacher) {
    if (student.size(1) != teacher.size(1)) {
        throw ShapeError(concat(where,
                                ": expected features with equal numbers of channels (a connector makes them "
                                "so), found ",
                                shape_text(student), " and ", shape_text(teacher)));
    }
}

/// Divided by the norm along `dimension`. If the norm is below `epsilon`, the result and its gradient are 0: the
/// common division by `epsilon` gives the same value and a gradient of 1 / epsilon.
inline at::Tensor normalized(const at::Tensor& tensor, std::int64_t dimension, double epsilon = 1e-12) {
    const at::Tensor norm = at::linalg_vector_norm(tensor, 2, dimension, /*keepdim=*/true);
    return tensor / norm.masked_fill(norm < epsilon, std::numeric_limits<double>::infinity());
}

/// Average-pools maps to this height and width, unless they have it.
inline at::Tensor pooled_to(const at::Tensor& maps, std::int64_t height, std::int64_t width) {
    if (maps.size(2) == height && maps.size(3) == width) return maps;
    return at::adaptive_avg_pool2d(maps, {height, width});
}

/// Average-pools the larger of two maps to the size of the smaller; in each direction separately.
/// \throws ShapeError if the spatial sizes differ and the features are not [batch, channels, height, width]
inline std::pair<at::Tensor, at::Tensor> pool_larger(std::string_view where, const at::Tensor& student,
                                                     const at::Tensor& teacher) {
    if (student.sizes().slice(2) == teacher.sizes().slice(2)) return {student, teacher};
    if (student.dim() != 4 || teacher.dim() != 4) {
        throw ShapeError(concat(where,
                                ": expected features of equal spatial sizes or of shape [batch, channels, "
                                "height, width], found ",
                                shape_text(student), " and ", shape_text(teacher)));
    }
    const std::int64_t height = std::min(student.size(2), teacher.size(2));
    const std::int64_t width = std::min(student.size(3), teacher.size(3));
    return {pooled_to(student, height, width), pooled_to(teacher, height, width)};
}

}  // namespace retort::detail
