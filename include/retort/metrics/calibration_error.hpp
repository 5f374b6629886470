// SPDX-License-Identifier: BSL-1.0
/// \file
/// Expected calibration error.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/max.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/metrics/tally.hpp>

namespace retort::metrics {

/// The expected calibration error: `sum_m n_m / n * |accuracy(m) - confidence(m)|` over `bins` equal-width bins of
/// the confidence (the largest softmax probability), each open at its lower and closed at its upper end, ((m - 1) /
/// M, m / M] (Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3).
/// From 0 to 1.
///
/// Probabilities of half-precision logits are computed in float32.
/// \throws (update) ConfigError if `bins` is below 1, ShapeError as `Accuracy`; (value) DataError if there were no
/// samples, a target was out of range, or a row of logits gave a probability of NaN
struct CalibrationError {
    static constexpr bool needs_teacher = false;
    std::int64_t bins = 15;
    std::int64_t ignore_index = ignored_target;  ///< predictions with this target do not count
    /// What has been accumulated so far.
    detail::Tally tally{};

    void update(const at::Tensor& logits, const at::Tensor& targets) {
        const c10::NoGradGuard no_grad;
        const auto [student_logits, target] = detail::rows_of(logits, targets);
        ::retort::detail::check_logits(name(), "the student's logits", student_logits, /*may_be_empty=*/true);
        detail::check_target(name(), student_logits, target);
        if (bins < 1) {
            throw ConfigError(
                ::retort::detail::concat("CalibrationError: expected at least 1 bin, found ", bins));
        }
        if (student_logits.size(0) == 0) return;
        const auto type = student_logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        const auto [top, place] = at::max(student_logits.softmax(1, type), 1);
        const auto confidence = top.to(at::kDouble);
        const auto counted = target.ne(ignore_index);
        const auto bad = detail::no_class(target, student_logits.size(1), counted);
        const auto is_nan = confidence.ne(confidence).logical_and_(counted);
        const auto hit = place.eq(target).to(at::kDouble);
        // The bin (m - 1, m] of confidence * M, counted from 0. NaN falls into no bin.
        const auto bin = confidence.mul(bins).ceil_().sub_(1).clamp_(0, bins - 1);
        const auto member = bin.unsqueeze(1)
                                .eq(at::arange(bins, bin.options()).unsqueeze(0))
                                .logical_and_(counted.unsqueeze(1))
                                .to(at::kDouble);  // B x M
        const auto sum_in = [&](const at::Tensor& values) { return member.mul(values.unsqueeze(1)).sum(0); };
        tally.add(name(), target.size(0),
                  at::cat({member.sum(0), sum_in(hit), sum_in(confidence.nan_to_num(0.0)),
                           detail::counts({bad, is_nan, counted}).to(at::kDouble)}));
    }
    double value() const {
        const auto sums = tally.read(name());
        const auto* members = sums.data_ptr<double>();
        const auto* hits = members + bins;
        const auto* confidences = hits + bins;
        const auto* special = confidences + bins;
        detail::expect_classes(name(), static_cast<std::int64_t>(special[0]), tally.samples());
        if (special[1] > 0.0) {
            throw DataError(::retort::detail::concat(name(),
                                                     ": expected probabilities other than NaN, found NaN in ",
                                                     special[1], " of ", tally.samples(), " rows"));
        }
        double error = 0.0;
        for (std::int64_t m = 0; m < bins; ++m) error += std::abs(hits[m] - confidences[m]);
        return detail::fraction(name(), error, special[2], tally.samples());
    }
    void reset() { tally = {}; }
    std::string name() const { return "calibration_error"; }
};

}  // namespace retort::metrics
