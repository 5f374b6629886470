// SPDX-License-Identifier: BSL-1.0
/// \file
/// The overhaul of feature distillation: a partial distance before the ReLU, with margins from the teacher's batch
/// norm.
#pragma once

#include <ATen/ops/clamp_max.h>
#include <ATen/ops/erfc.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/pimpl.h>

#include <cmath>
#include <numbers>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/sum_of_squares.hpp>

namespace retort {

/// Options of `FeatureOverhaul` and `functional::feature_overhaul`. The default is the formula of the
/// released code (mdistiller), with the weights 1e-3 on CIFAR and 1e-4 on ImageNet.
struct FeatureOverhaulOptions {
    double scale = 1;                            ///< multiplies the loss
    Reduction reduction = Reduction::batchmean;  ///< elements are those of the feature

    /// The layers of a `Sum` have weights 2^-(L - l - 1): the last 1, the one before it 1/2, ...
    static FeatureOverhaulOptions mdistiller() { return {}; }
    static FeatureOverhaulOptions mmrazor() { return {.scale = 1.0 / 1000}; }
    void check() const {
        if (!std::isfinite(scale)) {
            throw ConfigError(detail::concat("FeatureOverhaul: expected a finite scale, found ", scale));
        }
    }
};

namespace functional {

/// The margins of `FeatureOverhaul`: for each channel the mean of the negative outputs of a batch norm with this
/// weight and bias, for normally distributed inputs.
///
/// Formula: \f$ m = \beta - |\gamma| \, \frac{\exp(-(\beta/\gamma)^2 / 2)}{\sqrt{2 \pi} \,
/// \Phi(-\beta/|\gamma|)} \f$ where \f$ \Phi(-\beta/|\gamma|) > 0.001 \f$, else \f$ -3 |\gamma| \f$.
/// Shapes: both [channels]. A channel with \f$ \gamma = 0 \f$ outputs its bias: the margin is min(bias, 0).
inline at::Tensor overhaul_margins(const at::Tensor& weight, const at::Tensor& bias) {
    detail::check_alike("overhaul_margins", "the weight of the batch norm", weight, "its bias", bias);
    const at::Tensor deviation = detail::constant(weight).to(at::kDouble).abs();
    const at::Tensor mean = detail::constant(bias).to(at::kDouble);
    const at::Tensor dead = deviation == 0;
    const at::Tensor ratio = mean / deviation.masked_fill(dead, 1);
    const at::Tensor below = 0.5 * at::erfc(ratio / std::numbers::sqrt2);
    const at::Tensor density = (ratio * ratio * -0.5).exp() / std::sqrt(2 * std::numbers::pi);
    const at::Tensor margins =
        at::where(below > 0.001, mean - deviation * density / below.clamp_min(0.001), -3 * deviation);
    return at::where(dead, mean.clamp_max(0), margins).to(weight.scalar_type());
}

/// See `FeatureOverhaul`.
/// \param margins [channels], not above 0; undefined: no margins
inline at::Tensor feature_overhaul(const at::Tensor& student, const at::Tensor& teacher,
                                   const at::Tensor& margins, const FeatureOverhaulOptions& options = {}) {
    options.check();
    const detail::TensorPair both =
        detail::equal_features("feature_overhaul", student, teacher, 2, "[batch, channels, ...]");
    at::Tensor goal = detail::at_least_float32(detail::constant(both.teacher));
    if (margins.defined()) {
        if (margins.dim() != 1 || margins.size(0) != both.teacher.size(1)) {
            throw ShapeError(detail::concat("feature_overhaul: expected a margin for each of ",
                                            both.teacher.size(1), " channels, found ",
                                            detail::shape_text(margins)));
        }
        std::vector<std::int64_t> per_channel(static_cast<std::size_t>(both.teacher.dim()), 1);
        per_channel[1] = both.teacher.size(1);
        goal = at::maximum(goal, margins.to(goal.scalar_type()).reshape(per_channel));
    }
    // Where the teacher does not fire, the student may be lower.
    return detail::sum_of_squares(detail::at_least_float32(both.student), options.reduction, options.scale,
                                  [goal](const at::Tensor& values) {
                                      // Selection by `where` costs several times as much as this lower bound: 0, or
                                      // far below every difference.
                                      return at::maximum(values - goal, at::clamp_max(goal * -1e30, 0));
                                  });
}
/// Without margins.
inline at::Tensor feature_overhaul(const at::Tensor& student, const at::Tensor& teacher,
                                   const FeatureOverhaulOptions& options = {}) {
    return feature_overhaul(student, teacher, at::Tensor(), options);
}

}  // namespace functional

namespace detail {

/// A connector and the margins, which are buffers.
template <class Holder>
class OverhaulModule : public torch::nn::Module {
  public:
    OverhaulModule(Holder connector, const at::Tensor& margins)
        : torch::nn::Module("FeatureOverhaul"),
          connector_(register_module("connector", std::move(connector))),
          margins_(register_buffer("margins", margins)) {}
    at::Tensor forward(const at::Tensor& feature) { return connector_->forward(feature); }
    const at::Tensor& margins() const { return margins_; }

  private:
    Holder connector_;
    at::Tensor margins_;
};

template <Connector C>
struct OverhaulParts {
    C connector;
    at::Tensor weight, bias;
    FeatureOverhaulOptions options;

    bool sized() const { return connector.sized(); }
    auto build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        using Module = OverhaulModule<decltype(connector.build(student, teacher))>;
        return torch::nn::ModuleHolder<Module>(std::make_shared<Module>(
            connector.build(student, teacher), functional::overhaul_margins(weight, bias)));
    }
    template <class Module>
    at::Tensor loss(Module& module, const at::Tensor& student, const at::Tensor& teacher) const {
        const at::Tensor mapped = module.forward(student);
        check_features("FeatureOverhaul", mapped, teacher, 2, "[batch, channels, ...]");
        at::Tensor goal = constant(teacher);
        if (mapped.dim() == 4 && teacher.dim() == 4) {
            goal = pooled_to(goal, mapped.size(2), mapped.size(3));
        }
        return functional::feature_overhaul(mapped, goal, module.margins(), options);
    }
    void check() const { options.check(); }
};

}  // namespace detail

/// Overhaul of feature distillation on one layer, before its ReLU; several layers are a weighted `Sum`.
///
///     retort::FeatureOverhaul{retort::tap<&SmallOutputs::before_relu>, retort::tap<&BigOutputs::before_relu>,
///                             big->norm3}
///
/// Formula: \f$ \mathrm{mean}_b \sum d(r(F_s), \max(F_t, m)) \f$ with the margins m of `functional::overhaul_margins`
/// and \f$ d(s, t) = 0 \f$ where \f$ s \le t \le 0 \f$, else \f$ (s - t)^2 \f$. Never negative; 0 at equality, except
/// for teacher values below the margin.
/// Shapes: [batch, channels, ...]; a teacher's map of different size is average-pooled to that of the connector's.
/// Gradient: to the student's feature and the connector.
/// Reductions: `batchmean` (default), `sum`, `mean` over all elements, `none` (the sum of each sample).
/// Learnable: the connector, by default a 1x1 convolution without bias and batch norm. The margins are a buffer of
/// `module()`, computed from the teacher's batch norm when the term is constructed: its weights must be loaded by
/// then. The teacher is in evaluation mode here, as `Frozen` runs it; one released code (mdistiller) leaves it in
/// training mode, so that its statistics drift.
/// Source: Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", ICCV 2019.
template <class StudentTap, class TeacherTap, Connector C = Conv1x1>
class FeatureOverhaul : public detail::FeatureTerm<StudentTap, TeacherTap, detail::OverhaulParts<C>> {
  public:
    /// \param norm the teacher's batch norm before the ReLU, with weight and bias
    explicit FeatureOverhaul(StudentTap student, TeacherTap teacher, const torch::nn::BatchNorm2d& norm,
                             C connector = default_connector(), FeatureOverhaulOptions options = {})
        : FeatureOverhaul::FeatureTerm(
              "feature_overhaul", std::move(student), std::move(teacher),
              {std::move(connector), checked(norm).weight, checked(norm).bias, options}) {}

  private:
    static C default_connector() {
        if constexpr (std::is_same_v<C, Conv1x1>) {
            return Conv1x1{.bias = false, .batch_norm = true};
        } else {
            return C{};
        }
    }
    static const torch::nn::BatchNorm2dImpl& checked(const torch::nn::BatchNorm2d& norm) {
        if (norm.is_empty() || !norm->weight.defined() || !norm->bias.defined()) {
            throw ConfigError(
                "FeatureOverhaul: expected a batch norm with weight and bias, found one without");
        }
        return *norm;
    }
};

}  // namespace retort
