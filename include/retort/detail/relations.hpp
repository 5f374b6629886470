// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by losses on relations between the samples of a batch.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <string_view>

#include <retort/detail/check.hpp>
#include <retort/detail/products.hpp>
#include <retort/detail/tensor.hpp>

namespace retort::detail {

/// A feature as a matrix with one row per sample, in float32 or wider.
/// \throws ShapeError if it is not of shape [batch, ...] with at least one element of a floating-point type
inline at::Tensor rows(std::string_view where, std::string_view what, const at::Tensor& feature) {
    check_defined(where, what, feature);
    if (feature.dim() < 2 || feature.numel() == 0) {
        throw ShapeError(
            concat(where, ": expected ", what, " of shape [batch, ...], found ", shape_text(feature)));
    }
    check_floating(where, what, feature);
    const at::Tensor result = at_least_float32(feature);
    return result.dim() == 2 ? result : result.reshape({result.size(0), -1});
}

/// The features of one batch in two networks, as matrices of one type; the teacher's is a constant.
/// \throws ShapeError if one of them is not a feature, or the batches or devices differ
inline TensorPair row_pair(std::string_view where, const at::Tensor& student, const at::Tensor& teacher) {
    const TensorPair result{rows(where, "the student's feature", student),
                            rows(where, "the teacher's feature", constant(teacher))};
    if (student.size(0) != teacher.size(0)) {
        throw ShapeError(concat(where, ": expected the features of one batch, found the student's ",
                                shape_text(student), " and the teacher's ", shape_text(teacher)));
    }
    check_same_device(where, "the student's feature", student, "the teacher's feature", teacher);
    return in_one_type(result.student, result.teacher);
}

/// Rows of unit length; a row shorter than `epsilon` is divided by `epsilon` instead. A row of zeros is unchanged.
inline at::Tensor unit_rows(const at::Tensor& rows, double order = 2, double epsilon = 1e-12) {
    // The norm's gradient at 0 is 0 in LibTorch.
    return rows /
           at::linalg_vector_norm(rows, order, at::IntArrayRef({1}), /*keepdim=*/true).clamp_min(epsilon);
}

}  // namespace retort::detail
