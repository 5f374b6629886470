// SPDX-License-Identifier: BSL-1.0
/// \file
/// Top-k accuracy.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/metrics/tally.hpp>

namespace retort::metrics {

/// The fraction of samples whose target's logit is among the `k` largest, from 0 to 1. Among equal logits those of
/// lower classes count as larger, so that `TopK{.k = 1}` is `Accuracy`, and constant logits do not score. A row with
/// a NaN counts as wrong.
/// \throws (update) ConfigError if k is not from 1 to the number of classes, ShapeError as `Accuracy`; (value)
/// DataError as `Accuracy`
struct TopK {
    static constexpr bool needs_teacher = false;
    std::int64_t k = 5;
    std::int64_t ignore_index = ignored_target;  ///< predictions with this target do not count
    /// What has been accumulated so far.
    detail::Tally tally{};

    void update(const at::Tensor& logits, const at::Tensor& targets) {
        const c10::NoGradGuard no_grad;
        const auto [student_logits, target] = detail::rows_of(logits, targets);
        ::retort::detail::check_logits(name(), "the student's logits", student_logits, /*may_be_empty=*/true);
        detail::check_target(name(), student_logits, target);
        const auto classes = student_logits.size(1);
        if (k < 1 || k > classes) {
            throw ConfigError(::retort::detail::concat("TopK: expected k from 1 to the number of classes, ",
                                                       classes, ", found ", k));
        }
        if (student_logits.size(0) == 0) return;
        // A target out of range is counted, not gathered: the gather would abort the CUDA context.
        const auto column = target.clamp(0, classes - 1).unsqueeze(1);
        const auto own = student_logits.gather(1, column);
        const auto place = at::arange(classes, column.options()).unsqueeze(0);
        const auto before =
            student_logits.gt(own).logical_or_(student_logits.eq(own).logical_and_(place.lt(column)));
        const auto has_nan = student_logits.ne(student_logits).any(1);
        const auto counted = target.ne(ignore_index);
        const auto bad = detail::no_class(target, classes, counted);
        const auto hit =
            before.sum(1).lt(k).logical_and_(has_nan.logical_or(bad).logical_not_()).logical_and_(counted);
        tally.add(name(), target.size(0), detail::counts({hit, bad, counted}));
    }
    double value() const {
        const auto sums = tally.read(name());
        const auto* sum = sums.data_ptr<std::int64_t>();
        detail::expect_classes(name(), sum[1], tally.samples());
        return detail::fraction(name(), static_cast<double>(sum[0]), static_cast<double>(sum[2]),
                                tally.samples());
    }
    void reset() { tally = {}; }
    std::string name() const { return "top" + std::to_string(k); }
};

}  // namespace retort::metrics
