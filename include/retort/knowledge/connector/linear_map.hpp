// SPDX-License-Identifier: BSL-1.0
/// \file
/// A linear map between feature vectors.
#pragma once

#include <torch/nn/modules/linear.h>

#include <retort/knowledge/connector/concept.hpp>

namespace retort {

/// \f$ r(f) = W f + b \f$ on the last dimension.
/// Shapes: [batch, ..., in] to [batch, ..., out]. A size of 0 is taken from the first batch: `in` from the
/// student's feature, `out` from the teacher's.
struct LinearMap {
    std::int64_t in = 0;
    std::int64_t out = 0;
    bool bias = true;

    bool sized() const { return in > 0 && out > 0; }
    torch::nn::Linear build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        detail::check_range("LinearMap", "in", in, detail::at_least(0));
        detail::check_range("LinearMap", "out", out, detail::at_least(0));
        if ((in == 0 && student.size() < 2) || (out == 0 && teacher.size() < 2)) {
            throw ShapeError(
                detail::concat("LinearMap: expected features of shape [batch, ..., size], found ",
                               detail::shape_text(student), " and ", detail::shape_text(teacher)));
        }
        return torch::nn::Linear(
            torch::nn::LinearOptions(in > 0 ? in : student.back(), out > 0 ? out : teacher.back())
                .bias(bias));
    }
    static std::string name() { return "LinearMap"; }
};

}  // namespace retort
