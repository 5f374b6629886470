// SPDX-License-Identifier: BSL-1.0
/// \file
/// Channel-wise distillation for dense prediction: each channel as a distribution over positions.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>

#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

namespace retort {

/// Options of `ChannelWise` and `functional::channel_wise`.
struct ChannelWiseOptions {
    double temperature = 1;  ///< above 0; 4 is common in segmentation
    bool t_squared = true;
    Reduction reduction = Reduction::mean;  ///< elements are the channels of the samples

    void check() const { detail::check_range("ChannelWise", "a temperature", temperature, detail::above(0)); }
};

namespace functional {

/// See `ChannelWise`.
inline at::Tensor channel_wise(const at::Tensor& student, const at::Tensor& teacher,
                               const ChannelWiseOptions& options = {}) {
    options.check();
    const detail::TensorPair both =
        detail::equal_features("channel_wise", student, teacher, 3, "[batch, channels, ...]");
    const auto rows = [](const at::Tensor& feature) {
        return detail::at_least_float32(feature).reshape({feature.size(0) * feature.size(1), -1});
    };
    // One row per channel of each sample.
    const at::Tensor value = soft_target(
        rows(both.student), rows(detail::constant(both.teacher)),
        {.temperature = options.temperature,
         .reduction = options.reduction == Reduction::mean
                          ? Reduction::batchmean
                          : (options.reduction == Reduction::none ? Reduction::none : Reduction::sum),
         .t_squared = options.t_squared});
    if (options.reduction == Reduction::batchmean) return value / both.student.size(0);
    return options.reduction == Reduction::none ? value.reshape({both.student.size(0), -1}).mean(1) : value;
}

}  // namespace functional

/// Channel-wise distillation on one layer, or on the logit maps of a segmentation network.
///
/// Formula: \f$ T^2 \, \mathrm{mean}_{b,c} \mathrm{KL}(\sigma(F_{t,b,c} / T) \,\|\, \sigma(F_{s,b,c} / T))
/// \f$ with the softmax over the positions of each channel. Never negative; 0 at equality.
/// Shapes: [batch, channels, ...], equal after the connector (`Conv1x1` if the channels differ, `ResizeTo` if the
/// sizes do).
/// Gradient: to the student's feature and the connector.
/// Reductions: elements are the channels: `mean` (default), `batchmean` (their sum, mean over the samples),
/// `sum`, `none` (the mean of each sample). The defaults (T = 1, weight 1) are those of mmrazor.
/// Source: Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021.
template <class StudentTap, class TeacherTap, Connector C = Identity>
class ChannelWise
    : public detail::FeatureTerm<StudentTap, TeacherTap,
                                 detail::ConnectedLoss<&functional::channel_wise, ChannelWiseOptions, C>> {
  public:
    explicit ChannelWise(StudentTap student, TeacherTap teacher, C connector = {},
                         ChannelWiseOptions options = {})
        : ChannelWise::FeatureTerm("channel_wise", std::move(student), std::move(teacher),
                                   {std::move(connector), options}) {}
};

}  // namespace retort
