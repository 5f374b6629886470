// SPDX-License-Identifier: BSL-1.0
/// \file
/// Top-1 accuracy.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <string>

#include <retort/detail/check.hpp>
#include <retort/metrics/tally.hpp>

namespace retort::metrics {

/// The fraction of samples whose largest logit is the target's, from 0 to 1. Among equal logits the first counts as
/// the largest. A row with a NaN counts as wrong.
/// \throws (update) ShapeError for logits that are not B x C or targets that are not B int64; (value) DataError if
/// there were no samples or a target was out of range
struct Accuracy {
    static constexpr bool needs_teacher = false;
    /// What has been accumulated so far.
    detail::Tally tally{};

    void update(const at::Tensor& student_logits, const at::Tensor& target) {
        const c10::NoGradGuard no_grad;
        ::retort::detail::check_logits(name(), "the student's logits", student_logits, /*may_be_empty=*/true);
        detail::check_target(name(), student_logits, target);
        if (student_logits.size(0) == 0) return;
        const auto prediction = detail::predict(student_logits);
        const auto hit = prediction.place.eq(target).logical_and_(prediction.is_nan.logical_not());
        tally.add(name(), target.size(0),
                  detail::counts({hit, detail::no_class(target, student_logits.size(1))}));
    }
    double value() const {
        const auto sums = tally.read(name());
        const auto* sum = sums.data_ptr<std::int64_t>();
        detail::expect_classes(name(), sum[1], tally.samples());
        return static_cast<double>(sum[0]) / static_cast<double>(tally.samples());
    }
    void reset() { tally = {}; }
    std::string name() const { return "accuracy"; }
};

}  // namespace retort::metrics
