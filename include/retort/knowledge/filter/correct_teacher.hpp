// SPDX-License-Identifier: BSL-1.0
/// \file
/// Only samples that the teacher classifies correctly.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/argmax.h>

#include <retort/core/batch.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>

namespace retort {

/// Samples whose most probable class, for the teacher, is the target: [batch] of class indices, or [batch, classes]
/// of probabilities, of which the most probable class counts.
struct CorrectTeacher {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = true;

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student&, const Teacher& teacher, const B& batch) const {
        const at::Tensor& scores = detail::teacher_logits<CorrectTeacher>(teacher);
        detail::check_logits("CorrectTeacher", "the teacher's logits", scores);
        return scores.argmax(1).eq(detail::class_indices("CorrectTeacher", target(batch), scores));
    }
};

}  // namespace retort
