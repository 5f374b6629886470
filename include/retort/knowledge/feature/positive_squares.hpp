// SPDX-License-Identifier: BSL-1.0
/// \file
/// Squared distance of features, where either is positive.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/logical_or.h>

#include <string>

#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>

namespace retort {

namespace functional {

/// Squared distance of a feature from a deeper one, where either is positive.
///
/// Formula: \f$ \sum_{i:\, s_i > 0 \vee t_i > 0} (s_i - t_i)^2 \f$, a plain sum: not divided by the batch.
/// Shapes: both equal.
/// Gradient: to the student's feature; the teacher's is a constant.
/// Source: an unofficial implementation of Be Your Own Teacher.
/// \throws ShapeError
inline at::Tensor positive_squares(const at::Tensor& student, const at::Tensor& teacher) {
    const detail::TensorPair both = detail::equal_features("positive_squares", student, teacher);
    const at::Tensor goal = detail::constant(both.teacher);
    const at::Tensor own = detail::constant(both.student);
    return ((both.student - goal).square() * at::logical_or(own.gt(0), goal.gt(0))).sum();
}

}  // namespace functional

/// `functional::positive_squares` of outputs that are features: see `Within`.
struct PositiveSquares {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    template <class B>
    at::Tensor operator()(const at::Tensor& student, const at::Tensor& teacher, const B&) const {
        return functional::positive_squares(student, teacher);
    }
    static std::string name() { return "positive_squares"; }
};

}  // namespace retort
