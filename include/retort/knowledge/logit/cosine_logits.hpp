// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cosine distance of logits.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <string>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/cosine_distances.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// One minus the cosine of the angle between the logits of a sample.
///
/// Formula: \f$ 1 - z_s \cdot z_t / (\|z_s\| \|z_t\|) \f$ per sample; mean over samples. A row of zeros, or
/// shorter than 1e-12, has cosine 0 with everything, and the gradient of a row of unit length: towards the teacher's
/// direction.
/// Shapes: both logits [batch, classes].
/// Gradient: to the student's logits.
/// Reductions: `batchmean` (default; `mean` is the same, elements are samples), `sum`, `none`.
struct CosineLogits {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    Reduction reduction = Reduction::batchmean;
    bool centered = false;  ///< subtract the mean over the classes first: the correlation of the logits

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    static std::string name() { return "cosine_logits"; }
};

namespace functional {

/// See `CosineLogits`.
/// \throws ShapeError if the logits do not match
inline at::Tensor cosine_logits(const at::Tensor& student, const at::Tensor& teacher,
                                const CosineLogits& options = {}) {
    const detail::TensorPair both = detail::logit_pair("cosine_logits", student, teacher);
    const auto rows = [&](const at::Tensor& logits) {
        const at::Tensor scores = detail::at_least_float32(logits);
        return options.centered ? scores - scores.mean(1, /*keepdim=*/true) : scores;
    };
    return detail::reduce(
        detail::cosine_distances(rows(both.student), rows(detail::constant(both.teacher)), 1e-12, 1.0),
        options.reduction);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor CosineLogits::operator()(const Student& student, const Teacher& teacher, const B&) const {
    return functional::cosine_logits(detail::student_logits<CosineLogits>(student),
                                     detail::teacher_logits<CosineLogits>(teacher), *this);
}

}  // namespace retort
