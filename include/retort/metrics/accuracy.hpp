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

/// The fraction of predictions whose largest logit is the target's, from 0 to 1. Among equal logits the first counts as
/// the largest. A row with a NaN counts as wrong.
/// Shapes: logits [batch, classes] and targets [batch], or [batch, classes, ...] and [batch, ...] (pixels, tokens).
/// \throws (update) ShapeError for other shapes, or targets that are not int64; (value) DataError if no prediction
/// counted or a target was out of range
struct Accuracy {
    static constexpr bool needs_teacher = false;
    std::int64_t ignore_index = ignored_target;  ///< predictions with this target do not count
    /// What has been accumulated so far.
    detail::Tally tally{};

    void update(const at::Tensor& logits, const at::Tensor& targets) {
        const c10::NoGradGuard no_grad;
        const auto [student_logits, target] = detail::rows_of(logits, targets);
        ::retort::detail::check_logits(name(), "the student's logits", student_logits, /*may_be_empty=*/true);
        detail::check_target(name(), student_logits, target);
        if (student_logits.size(0) == 0) return;
        const auto prediction = detail::predict(student_logits);
        const auto counted = target.ne(ignore_index);
        const auto hit =
            prediction.place.eq(target).logical_and_(prediction.is_nan.logical_not()).logical_and_(counted);
        tally.add(name(), target.size(0),
                  detail::counts({hit, detail::no_class(target, student_logits.size(1), counted), counted}));
    }
    double value() const {
        const auto sums = tally.read(name());
        const auto* sum = sums.data_ptr<std::int64_t>();
        detail::expect_classes(name(), sum[1], tally.samples());
        return detail::fraction(name(), static_cast<double>(sum[0]), static_cast<double>(sum[2]),
                                tally.samples());
    }
    void reset() { tally = {}; }
    std::string name() const { return "accuracy"; }
};

}  // namespace retort::metrics
