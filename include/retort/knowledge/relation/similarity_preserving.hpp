// SPDX-License-Identifier: BSL-1.0
/// \file
/// Similarity-preserving distillation (SP): pairwise similarities of the samples of a batch.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>

#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `SimilarityPreserving` and `functional::similarity_preserving`.
struct SimilarityPreservingOptions {
    double norm = 2;                        ///< order of the norm that the rows are divided by: 1 or 2
    double epsilon = 1e-12;                 ///< lower bound of the divisor of a row; above 0
    Reduction reduction = Reduction::mean;  ///< elements are pairs of samples

    /// RepDistiller and mdistiller: rows of Euclidean length 1, mean over the pairs. The default.
    static SimilarityPreservingOptions rep_distiller() { return {}; }
    /// torchdistill (SPKDLoss): the rows' absolute values sum to 1. Its code passes 1 to `normalize` as the order of
    /// the norm.
    static SimilarityPreservingOptions torchdistill() { return {.norm = 1}; }

    /// \throws ConfigError
    void check() const {
        if (norm != 1 && norm != 2) {
            throw ConfigError(
                detail::concat("SimilarityPreserving: expected a norm of order 1 or 2, found ", norm));
        }
        detail::check_range("SimilarityPreserving", "an epsilon", epsilon, detail::above(0));
    }
};

namespace functional {

/// Mean squared difference of the row-normalized Gram matrices of a batch.
///
/// Formula: \f$ \frac{1}{B^2} \| \mathrm{rows}(F_t F_t^\top) - \mathrm{rows}(F_s F_s^\top) \|_F^2 \f$, where
/// rows() divides each row by its norm.
/// Shapes: student [batch, ...], teacher [batch, ...]; the widths may differ.
/// Gradient: to the student's feature; the teacher's is a constant.
/// Reductions: `mean` over pairs (default), `batchmean`, `sum`, `none` (the mean of each sample's row).
/// Hazards: depends on the whole batch, so micro-batches change it. The row of a sample whose feature is all zeros is
/// divided by epsilon: the gradient there is finite but up to 1 / epsilon times the others'.
/// Source: Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019; reduction and epsilon as in
/// the released code. Usual weight: 3000 (RepDistiller, mdistiller).
/// \throws ShapeError, ConfigError
inline at::Tensor similarity_preserving(const at::Tensor& student, const at::Tensor& teacher,
                                        const SimilarityPreservingOptions& options = {}) {
    options.check();
    const detail::TensorPair rows = detail::row_pair("similarity_preserving", student, teacher);
    const auto similarities = [&](const at::Tensor& feature) {
        return detail::unit_rows(detail::gram(feature), options.norm, options.epsilon);
    };
    const at::Tensor own = similarities(rows.student);
    const at::Tensor goal = similarities(rows.teacher);
    if (options.reduction == Reduction::mean) return at::mse_loss(own, goal);
    return detail::reduce((own - goal).square(), options.reduction);
}

}  // namespace functional

/// `functional::similarity_preserving` of a student's and a teacher's feature.
///
///     retort::SimilarityPreserving{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>}
template <class StudentTap, class TeacherTap>
class SimilarityPreserving : public detail::FunctionTerm<StudentTap, TeacherTap, SimilarityPreservingOptions,
                                                         &functional::similarity_preserving> {
  public:
    explicit SimilarityPreserving(StudentTap student, TeacherTap teacher,
                                  SimilarityPreservingOptions options = {})
        : SimilarityPreserving::FunctionTerm("similarity_preserving", std::move(student), std::move(teacher),
                                             options) {}
};

}  // namespace retort
