// SPDX-License-Identifier: BSL-1.0
/// \file
/// Inter-channel correlation: which channels respond together.
#pragma once

#include <ATen/ops/bmm.h>

#include <type_traits>
#include <utility>

#include <retort/detail/products.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `ChannelCorrelation` and `functional::channel_correlation`.
struct ChannelCorrelationOptions {
    Reduction reduction = Reduction::mean;  ///< elements are the rows of the correlation matrices
    /// Divide by the number of samples a second time, as the released code does: 1 / (C B^2) instead of 1 / (C B).
    bool divide_by_batch_twice = false;
    /// Give a channel that is zero everywhere the gradient of the released code (1e12 times the loss's)
    /// instead of 0.
    bool released_gradient_at_zero = false;

    /// The released code (torchdistill); its weight is 500.
    static ChannelCorrelationOptions torchdistill() {
        return {.divide_by_batch_twice = true, .released_gradient_at_zero = true};
    }
};

namespace functional {

/// See `ChannelCorrelation`.
inline at::Tensor channel_correlation(const at::Tensor& student, const at::Tensor& teacher,
                                      const ChannelCorrelationOptions& options = {}) {
    const detail::TensorPair both =
        detail::feature_pair("channel_correlation", student, teacher, 3, "[batch, channels, ...]");
    detail::check_channels("channel_correlation", both.student, both.teacher);
    const auto correlation = [&](const at::Tensor& feature) {
        const at::Tensor rows =
            detail::at_least_float32(feature).reshape({feature.size(0), feature.size(1), -1});
        const at::Tensor products = detail::gram(rows);
        if (!options.released_gradient_at_zero) return detail::normalized(products, 2);
        return products / at::linalg_vector_norm(products, 2, 2, /*keepdim=*/true).clamp_min(1e-12);
    };
    const at::Tensor difference = correlation(both.student) - correlation(detail::constant(both.teacher));
    const at::Tensor result = detail::reduce((difference * difference).sum(2), options.reduction);
    return options.divide_by_batch_twice ? result / static_cast<double>(both.student.size(0)) : result;
}

}  // namespace functional

/// Inter-channel correlation on one layer; several layers are a `Sum`.
///
/// Formula: \f$ \mathrm{mean}_{b,c} \| \hat G_s - \hat G_t \|^2_{\text{row } c}, \; \hat G \f$ the rows of
/// \f$ F F^T \f$ [channels, channels] of each sample, divided by their norms. Never negative; 0 at equality.
/// A channel that is zero everywhere counts as zeros and has no gradient.
/// Shapes: [batch, channels, ...]; equal numbers of channels after the connector, the numbers of positions may
/// differ.
/// Gradient: to the student's feature and the connector.
/// Reductions: elements are the rows, `none` is the mean of each sample. The default does not depend on the batch
/// size; `ChannelCorrelationOptions::torchdistill()` does, like its code.
/// Learnable: the connector; the released one is `Convolution{.bias = false, .batch_norm = true}`, the
/// default here.
/// Source: Liu et al., "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation",
/// ICCV 2021.
template <class StudentTap, class TeacherTap, Connector C = Convolution>
class ChannelCorrelation
    : public detail::FeatureTerm<
          StudentTap, TeacherTap,
          detail::ConnectedLoss<&functional::channel_correlation, ChannelCorrelationOptions, C>> {
  public:
    explicit ChannelCorrelation(StudentTap student, TeacherTap teacher, C connector = default_connector(),
                                ChannelCorrelationOptions options = {})
        : ChannelCorrelation::FeatureTerm("channel_correlation", std::move(student), std::move(teacher),
                                          {std::move(connector), options}) {}

  private:
    static C default_connector() {
        if constexpr (std::is_same_v<C, Convolution>) {
            return Convolution{.bias = false, .batch_norm = true};
        } else {
            return C{};
        }
    }
};

}  // namespace retort
