// SPDX-License-Identifier: BSL-1.0
/// \file
/// Activation boundaries: matches which of the student's neurons fire to the teacher's.
#pragma once

#include <ATen/ops/clamp_max.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/where.h>

#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/sum_of_squares.hpp>

namespace retort {

/// Options of `ActivationBoundary` and `functional::activation_boundary`.
///
/// The default is the plain sum over a sample, mean over the samples. Released code scales it, and weights its
/// layers, differently; a weight is meaningless without both.
struct ActivationBoundaryOptions {
    double margin = 1;                           ///< above 0
    double scale = 1;                            ///< multiplies the loss
    Reduction reduction = Reduction::batchmean;  ///< elements are those of the feature

    /// 3 / 1000; the layers of a `Sum` have weights 2^(l - L + 1): the last 1, the one before it 1/2, ...
    static ActivationBoundaryOptions rep_distiller() { return {.scale = 3.0 / 1000}; }
    /// 3 / 1000; the layers have equal weights.
    static ActivationBoundaryOptions mmrazor() { return rep_distiller(); }
    /// No scale; the layers have equal weights.
    static ActivationBoundaryOptions torchdistill() { return {}; }
    void check() const {
        detail::check_range("ActivationBoundary", "a margin", margin, detail::above(0));
        detail::check_finite("ActivationBoundary", "scale", scale);
    }
};

namespace functional {

/// See `ActivationBoundary`.
inline at::Tensor activation_boundary(const at::Tensor& student, const at::Tensor& teacher,
                                      const ActivationBoundaryOptions& options = {}) {
    options.check();
    const detail::TensorPair both = detail::equal_features("activation_boundary", student, teacher);
    const at::Tensor goal = detail::constant(both.teacher);
    // How far the student's value is on the wrong side of, or within, the margin: 0 or more if it should not fire, 0
    // or less if it should.
    return detail::sum_of_squares(detail::at_least_float32(both.student), options.reduction, options.scale,
                                  [goal, margin = options.margin](const at::Tensor& values) {
                                      return at::where(goal > 0, at::clamp_max(values - margin, 0),
                                                       at::clamp_min(values + margin, 0));
                                  });
}

}  // namespace functional

/// Activation boundary loss on one layer, before its ReLU; several layers are a weighted `Sum`.
///
///     retort::ActivationBoundary{retort::tap<&SmallOutputs::before_relu>,
///     retort::tap<&BigOutputs::before_relu>,
///                                retort::FitNetRegressor{.relu = false}}
///
/// Formula: \f$ \mathrm{mean}_b \sum [ (s + m)^2 \, 1(t \le 0, s > -m) + (s - m)^2 \, 1(t > 0, s \le m) ] \f$ with
/// \f$ s = r(F_s) \f$; a teacher's value of 0 counts as not firing. Never negative; 0 not at equality, but if every
/// value is beyond the margin on the teacher's side.
/// Shapes: [batch, ...], equal after the connector.
/// Gradient: to the student's feature and the connector.
/// Reductions: `batchmean` (default), `sum`, `mean` over all elements, `none` (the sum of each sample).
/// Learnable: the connector.
/// Source: Heo, Lee, Yun, Choi, "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden
/// Neurons", AAAI 2019; there it is a separate first stage (`Phases`).
template <class StudentTap, class TeacherTap, Connector C = Identity>
class ActivationBoundary
    : public detail::FeatureTerm<
          StudentTap, TeacherTap,
          detail::ConnectedLoss<&functional::activation_boundary, ActivationBoundaryOptions, C>> {
  public:
    explicit ActivationBoundary(StudentTap student, TeacherTap teacher, C connector = {},
                                ActivationBoundaryOptions options = {})
        : ActivationBoundary::FeatureTerm("activation_boundary", std::move(student), std::move(teacher),
                                          {std::move(connector), options}) {}
};

}  // namespace retort
