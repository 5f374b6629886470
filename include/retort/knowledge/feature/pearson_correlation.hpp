// SPDX-License-Identifier: BSL-1.0
/// \file
/// Pearson correlation of features: invariant to the scale and offset of each channel.
#pragma once

#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/std.h>

#include <limits>
#include <utility>
#include <vector>

#include <retort/detail/tensor.hpp>
#include <retort/knowledge/connector/resize.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `PearsonCorrelation` and `functional::pearson_correlation`. The defaults are mmrazor's.
struct PearsonCorrelationOptions {
    double epsilon = 1e-6;       ///< added to the standard deviations; above 0
    bool resize_student = true;  ///< to the teacher's size; else the teacher's map to the student's
    Reduction reduction = Reduction::mean;  ///< elements are those of the features

    void check() const { detail::check_range("PearsonCorrelation", "epsilon", epsilon, detail::above(0)); }
};

namespace functional {

/// See `PearsonCorrelation`.
inline at::Tensor pearson_correlation(const at::Tensor& student, const at::Tensor& teacher,
                                      const PearsonCorrelationOptions& options = {}) {
    options.check();
    const detail::TensorPair both =
        detail::feature_pair("pearson_correlation", student, teacher, 2, "[batch, channels, ...]");
    detail::check_channels("pearson_correlation", both.student, both.teacher);
    at::Tensor from = detail::at_least_float32(both.student);
    at::Tensor goal = detail::at_least_float32(detail::constant(both.teacher));
    if (from.sizes() != goal.sizes()) {
        const at::Tensor& wanted = options.resize_student ? goal : from;
        const auto [height, width] = detail::spatial_sizes("pearson_correlation", wanted.sizes());
        at::Tensor& resized = options.resize_student ? from : goal;
        detail::spatial_sizes("pearson_correlation", resized.sizes());
        resized = detail::resampled(resized, height, width, Resampling::bilinear);
    }
    std::vector<std::int64_t> all;  // except the channels
    for (std::int64_t i = 0; i < from.dim(); ++i) {
        if (i != 1) all.push_back(i);
    }
    const bool unbiased = from.numel() > from.size(1);  // a single value has no deviation
    const auto standardized = [&](const at::Tensor& feature) {
        const at::Tensor deviation = at::std(feature, all, unbiased, /*keepdim=*/true);
        return (feature - feature.mean(all, /*keepdim=*/true)) /
               (deviation + options.epsilon)
                   .masked_fill(deviation < options.epsilon, std::numeric_limits<double>::infinity());
    };
    return 0.5 * detail::reduce(at::mse_loss(standardized(from), standardized(goal), at::Reduction::None),
                                options.reduction);
}

}  // namespace functional

/// Pearson correlation of the channels on one layer.
///
/// Formula: \f$ \tfrac12 \, \mathrm{mean} (\hat F_s - \hat F_t)^2, \; \hat F = (F - \mu_c) / (\sigma_c +
/// \epsilon) \f$ with mean and unbiased standard deviation of each channel over samples and positions; this
/// is \f$ (1 - \rho) (n - 1) / n \f$ in the correlations of the channels. A channel whose deviation is below
/// \f$ \epsilon \f$ counts as zeros and has no gradient. Never negative; 0 at equality.
/// Shapes: [batch, channels, ...]; equal numbers of channels after the connector. Maps of another size are resized
/// bilinearly.
/// Gradient: to the student's feature and the connector. Depends on the whole batch, whose mean and deviation differ
/// from those of its parts.
/// Reductions: those of `Hint`, halved.
/// Source: Cao, Zhang, Gao, Cheng, Cheng, Li, "PKD: General Distillation Framework for Object Detectors via
/// Pearson Correlation Coefficient", NeurIPS 2022.
template <class StudentTap, class TeacherTap, Connector C = Identity>
class PearsonCorrelation
    : public detail::FeatureTerm<
          StudentTap, TeacherTap,
          detail::ConnectedLoss<&functional::pearson_correlation, PearsonCorrelationOptions, C>> {
  public:
    explicit PearsonCorrelation(StudentTap student, TeacherTap teacher, C connector = {},
                                PearsonCorrelationOptions options = {})
        : PearsonCorrelation::FeatureTerm("pearson_correlation", std::move(student), std::move(teacher),
                                          {std::move(connector), options}) {}
};

}  // namespace retort
