// SPDX-License-Identifier: BSL-1.0
/// \file
/// Similarities of the classes over a batch.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>

#include <string>

#include <retort/core/reduction.hpp>
#include <retort/detail/products.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>

namespace retort {

/// Squared difference of the Gram matrices of the classes.
///
/// Formula: \f$ \|P_t^\top P_t - P_s^\top P_s\|_F^2 / C \f$ with \f$ P = \sigma(z / T) \f$, [batch, C]. Without a
/// factor \f$ T^2 \f$; the Gram matrix is a sum over the batch, so the value grows with the batch.
/// Shapes: both logits [batch, classes].
/// Gradient: to the student's logits.
/// Reduction: fixed; the value is that of the whole batch.
/// Source: the class part of Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023.
struct ClassRelation {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    double temperature = 4.0;  ///< above 0

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const { detail::check_temperature("ClassRelation", temperature); }
    static std::string name() { return "class_relation"; }
};

namespace detail {

/// Softmax of logits, at least in float32.
inline at::Tensor probabilities(const at::Tensor& logits, double temperature) {
    const at::Tensor scores = at_least_float32(logits);
    return at::softmax(temperature == 1.0 ? scores : scores / temperature, 1);
}

/// Squared differences of the Gram matrices of the columns: [classes, classes].
inline at::Tensor class_relation_elements(const at::Tensor& student, const at::Tensor& teacher,
                                          double temperature) {
    const at::Tensor s = probabilities(student, temperature), t = probabilities(teacher, temperature);
    return (gram(s.t()) - gram(t.t())).square();
}

/// Squared differences of the Gram matrices of the rows: [batch, batch].
inline at::Tensor sample_relation_elements(const at::Tensor& student, const at::Tensor& teacher,
                                           double temperature) {
    const at::Tensor s = probabilities(student, temperature), t = probabilities(teacher, temperature);
    return (gram(s) - gram(t)).square();
}

}  // namespace detail

namespace functional {

/// See `ClassRelation`.
/// \throws ConfigError if the temperature is not above 0; ShapeError if the logits do not match
inline at::Tensor class_relation(const at::Tensor& student, const at::Tensor& teacher,
                                 const ClassRelation& options = {}) {
    options.check();
    const detail::TensorPair both = detail::logit_pair("class_relation", student, teacher);
    return detail::class_relation_elements(both.student, detail::constant(both.teacher), options.temperature)
               .sum() /
           static_cast<double>(both.student.size(1));
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor ClassRelation::operator()(const Student& student, const Teacher& teacher, const B&) const {
    return functional::class_relation(detail::student_logits<ClassRelation>(student),
                                      detail::teacher_logits<ClassRelation>(teacher), *this);
}

}  // namespace retort
