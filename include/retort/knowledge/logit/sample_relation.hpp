// SPDX-License-Identifier: BSL-1.0
/// \file
/// Similarities of the samples of a batch by their predictions.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/logit/class_relation.hpp>

namespace retort {

/// Squared difference of the Gram matrices of the samples.
///
/// Formula: \f$ \|P_t P_t^\top - P_s P_s^\top\|_F^2 / B \f$ with \f$ P = \sigma(z / T) \f$, [B, classes]. Without a
/// factor \f$ T^2 \f$.
/// Shapes: both logits [batch, classes].
/// Gradient: to the student's logits.
/// Reductions: elements are pairs of samples. `batchmean` (default), `sum`, `mean` (over all pairs), `none`
/// (the sum over the partners of each sample).
/// Source: the batch part of Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023.
struct SampleRelation {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    double temperature = 4.0;  ///< above 0
    Reduction reduction = Reduction::batchmean;

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const { detail::check_temperature("SampleRelation", temperature); }
    static std::string name() { return "sample_relation"; }
};

namespace functional {

/// See `SampleRelation`.
/// \throws ConfigError if the temperature is not above 0; ShapeError if the logits do not match
inline at::Tensor sample_relation(const at::Tensor& student, const at::Tensor& teacher,
                                  const SampleRelation& options = {}) {
    options.check();
    const detail::TensorPair both = detail::logit_pair("sample_relation", student, teacher);
    return detail::reduce(
        detail::sample_relation_elements(both.student, detail::constant(both.teacher), options.temperature),
        options.reduction, detail::PerSample::sum, 1.0);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor SampleRelation::operator()(const Student& student, const Teacher& teacher, const B&) const {
    return functional::sample_relation(detail::student_logits<SampleRelation>(student),
                                       detail::teacher_logits<SampleRelation>(teacher), *this);
}

}  // namespace retort
