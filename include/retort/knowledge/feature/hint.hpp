// SPDX-License-Identifier: BSL-1.0
/// \file
/// Hints: match the student's intermediate feature, through a connector, to the teacher's.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>

#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>

namespace retort {

/// Options of `Hint` and `functional::hint`.
struct HintOptions {
    Reduction reduction = Reduction::mean;  ///< elements are those of the feature
};

namespace functional {

/// Mean squared difference of two features.
///
/// Formula: \f$ \mathrm{mean} (F_s - F_t)^2 \f$.
/// Shapes: both [batch, ...], equal.
/// Gradient: to the student's feature; the teacher's is a constant.
/// Reductions: `mean` over all elements (default), `batchmean` (sum over the feature, mean over the samples),
/// `sum`, `none` (the mean of each sample).
/// \throws ShapeError if the shapes differ.
inline at::Tensor hint(const at::Tensor& student, const at::Tensor& teacher,
                       const HintOptions& options = {}) {
    const detail::TensorPair both = detail::equal_features("hint", student, teacher);
    const at::Tensor from = detail::at_least_float32(both.student);
    const at::Tensor goal = detail::at_least_float32(detail::constant(both.teacher));
    switch (options.reduction) {
        case Reduction::mean:
            return at::mse_loss(from, goal);
        case Reduction::sum:
            return at::mse_loss(from, goal, at::Reduction::Sum);
        case Reduction::batchmean:
            return at::mse_loss(from, goal, at::Reduction::Sum) / both.student.size(0);
        case Reduction::none:
            break;
    }
    return at::mse_loss(from, goal, at::Reduction::None).reshape({both.student.size(0), -1}).mean(1);
}

}  // namespace functional

/// Mean squared difference of the student's feature, through a learnable connector, and the teacher's.
///
///     retort::Hint{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>, retort::Conv1x1{64,
///     256}}
///
/// Formula: \f$ \mathrm{mean} (r(F_s) - F_t)^2 \f$ with the connector r.
/// Gradient: to the student's feature and the connector.
/// Learnable: the connector; built immediately if its options give its sizes, else from the first batch.
/// Source: Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015, Eq. 3.
/// There the hint is a separate first stage (`Phases`); the loss is half the squared distance.
template <class StudentTap, class TeacherTap, Connector C = Identity>
class Hint : public detail::FeatureTerm<StudentTap, TeacherTap,
                                        detail::ConnectedLoss<&functional::hint, HintOptions, C>> {
  public:
    explicit Hint(StudentTap student, TeacherTap teacher, C connector = {}, HintOptions options = {})
        : Hint::FeatureTerm("hint", std::move(student), std::move(teacher), {std::move(connector), options}) {
    }
};

}  // namespace retort
