// SPDX-License-Identifier: BSL-1.0
/// \file
/// Only samples on which the teacher is confident.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/amax.h>

#include <retort/knowledge/detail/logit_loss.hpp>

namespace retort {

/// Samples on which the teacher's highest class probability, at temperature 1, is at least `threshold`.
struct ConfidentTeacher {
    static constexpr bool needs_teacher = true;

    double threshold = 0.5;  ///< in [0, 1]

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student&, const Teacher& teacher, const B&) const {
        const at::Tensor& scores = detail::teacher_logits<ConfidentTeacher>(teacher);
        detail::check_logits("ConfidentTeacher", "the teacher's logits", scores);
        return detail::log_probabilities(detail::constant(scores), 1.0).amax(1).exp().ge(threshold);
    }
    void check() const {
        detail::check_range("ConfidentTeacher", "a threshold", threshold, detail::in_closed(0, 1));
    }
};

}  // namespace retort
