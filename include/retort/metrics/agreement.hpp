// SPDX-License-Identifier: BSL-1.0
/// \file
/// Top-1 agreement of student and teacher.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/metrics/tally.hpp>

namespace retort::metrics {

/// The fraction of samples for which the largest logits of student and teacher are of the same class, from 0 to 1
/// (Stanton, Izmailov, Kirichenko, Alemi and Wilson, "Does Knowledge Distillation Really Work?", NeurIPS 2021, top-1
/// agreement). Among equal logits the first counts as the largest. A row with a NaN on either side counts as
/// disagreement. Targets are ignored and may be undefined.
/// \throws (update) ShapeError unless both logits are B x C on one device; (value) DataError if there were no samples
struct Agreement {
    static constexpr bool needs_teacher = true;
    /// What has been accumulated so far.
    detail::Tally tally{};

    void update(const at::Tensor& student_logits, const at::Tensor& /*target*/,
                const at::Tensor& teacher_logits) {
        const c10::NoGradGuard no_grad;
        ::retort::detail::check_logits(name(), "the student's logits", student_logits, /*may_be_empty=*/true);
        ::retort::detail::check_logits(name(), "the teacher's logits", teacher_logits, /*may_be_empty=*/true);
        if (student_logits.sizes() != teacher_logits.sizes() ||
            student_logits.device() != teacher_logits.device()) {
            throw ShapeError(::retort::detail::concat(
                name(), ": expected teacher logits of the student's shape and device, ",
                student_logits.sizes(), " on ", student_logits.device(), ", found ", teacher_logits.sizes(),
                " on ", teacher_logits.device()));
        }
        if (student_logits.size(0) == 0) return;
        const auto student = detail::predict(student_logits);
        const auto teacher = detail::predict(teacher_logits);
        const auto agree = student.place.eq(teacher.place)
                               .logical_and_(student.is_nan.logical_or(teacher.is_nan).logical_not_());
        tally.add(name(), student_logits.size(0), detail::counts({agree}));
    }
    double value() const {
        const auto sums = tally.read(name());
        return static_cast<double>(*sums.data_ptr<std::int64_t>()) / static_cast<double>(tally.samples());
    }
    void reset() { tally = {}; }
    std::string name() const { return "agreement"; }
};

}  // namespace retort::metrics
