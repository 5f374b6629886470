// SPDX-License-Identifier: BSL-1.0
/// \file
/// How well scores tell unknown samples from known ones.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::metrics {

/// Options of `detection`.
struct DetectionOptions {
    /// Which threshold the false positive rate is taken at.
    enum class Point {
        reached,  ///< the strictest whose recall is at least `recall`
        closest,  ///< the one whose recall is closest to it, the higher recall of equals: released code of "Energy-based
        ///< Out-of-distribution Detection" (its recall may lie below)
    };
    double recall = 0.95;  ///< of the unknown samples, in (0, 1]
    Point point = Point::reached;
};

/// How well scores that grow with strangeness tell unknown samples (the positive class) from known ones.
struct Detection {
    double auroc = 0;  ///< probability that an unknown sample scores above a known one; ties count 1/2
    double false_positive_rate = 0;    ///< share of the known samples above the threshold of the recall
    double average_precision = 0;      ///< \f$ \sum_k (R_k - R_{k-1}) P_k \f$ over the thresholds
    double precision_recall_area = 0;  ///< the same curve by the trapezoidal rule, from (0, 1)
};

namespace detail {

inline std::vector<double> detection_scores(const at::Tensor& scores, const char* which) {
    using ::retort::detail::concat;
    if (!scores.defined() || scores.dim() != 1 || scores.numel() == 0) {
        throw ShapeError(concat(
            "detection: expected the scores of at least one ", which, " sample, of shape [samples], found ",
            scores.defined() ? ::retort::detail::shape_text(scores) : std::string("an undefined tensor")));
    }
    const at::NoGradGuard no_grad;
    const at::Tensor values = scores.to(at::kCPU, at::kDouble).contiguous();
    const auto* data = values.data_ptr<double>();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
        if (std::isnan(data[i]))
            throw DataError(concat("detection: expected scores, found NaN for ", which, " sample ", i));
    }
    return {data, data + values.numel()};
}

}  // namespace detail

/// Computes the measures by ranks: no monotone map of the scores changes them. Waits for the device.
/// \param known, unknown the scores, [samples] each; larger is stranger. Infinite scores are ranked, too.
/// \throws ShapeError if there are none; DataError for NaN; ConfigError if the recall is not in (0, 1]
/// Source: AUROC as Fawcett, "An introduction to ROC analysis", 2006; the others as used for detectors of unknown samples
/// since Hendrycks and Gimpel, 2017. Unlike code that squashes scores by a sigmoid, large scores stay distinct.
inline Detection detection(const at::Tensor& known, const at::Tensor& unknown,
                           const DetectionOptions& options = {}) {
    if (!(options.recall > 0 && options.recall <= 1)) {
        throw ConfigError(
            ::retort::detail::concat("detection: expected a recall in (0, 1], found ", options.recall));
    }
    std::vector<std::pair<double, bool>> all;  // the score, and whether it is of an unknown sample
    for (const double each : detail::detection_scores(known, "known")) all.emplace_back(each, false);
    const std::size_t negatives = all.size();
    for (const double each : detail::detection_scores(unknown, "unknown")) all.emplace_back(each, true);
    const auto positive_count = static_cast<double>(all.size() - negatives);
    const auto negative_count = static_cast<double>(negatives);
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });

    Detection result;
    double hits = 0;
    double alarms = 0;
    double recall = 0;
    double precision = 1;
    double distance = 2;
    bool reached = false;
    for (std::size_t i = 0; i < all.size();) {
        double new_hits = 0;
        double new_alarms = 0;
        std::size_t end = i;
        for (; end < all.size() && all[end].first == all[i].first; ++end)
            (all[end].second ? new_hits : new_alarms) += 1;
        result.auroc += new_alarms * (hits + new_hits / 2);
        hits += new_hits;
        alarms += new_alarms;
        const double next_recall = hits / positive_count;
        const double next_precision = hits / (hits + alarms);
        result.average_precision += (next_recall - recall) * next_precision;
        result.precision_recall_area += (next_recall - recall) * (next_precision + precision) / 2;
        const double off = std::abs(next_recall - options.recall);
        // Thresholds beyond the first of full recall add nothing.
        const bool better = options.point == DetectionOptions::Point::reached
                                ? !reached && next_recall >= options.recall
                                : recall < 1 && off <= distance;
        if (better) {
            result.false_positive_rate = alarms / negative_count;
            distance = off;
        }
        reached = reached || next_recall >= options.recall;
        recall = next_recall;
        precision = next_precision;
        i = end;
    }
    result.auroc /= positive_count * negative_count;
    return result;
}

}  // namespace retort::metrics
