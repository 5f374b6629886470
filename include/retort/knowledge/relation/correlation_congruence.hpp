// SPDX-License-Identifier: BSL-1.0
/// \file
/// Correlation congruence (CC): correlations between the samples of a batch, and RepDistiller's loss of that name.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>

#include <cmath>
#include <cstdint>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/relation/embedding_pair.hpp>

namespace retort {

/// Options of `CorrelationCongruence` and `functional::correlation_congruence`.
struct CorrelationCongruenceOptions {
    enum class Kernel {
        gaussian,  ///< \f$ e^{-2\gamma} \sum_{p=0}^{P} \frac{(2\gamma)^p}{p!} (x \cdot y)^p \f$, for rows of
                   ///< length 1
        bilinear,  ///< \f$ x \cdot y \f$
    };
    Kernel kernel = Kernel::gaussian;
    double gamma = 0.4;      ///< of the Gaussian kernel; above 0
    std::int64_t order = 2;  ///< P, of its Taylor series; at least 1
    bool normalize_input =
        false;             ///< divide each sample's feature by its length first, as the series assumes
    bool squared = false;  ///< the squared distance of the matrices instead of the distance
    Reduction reduction = Reduction::mean;  ///< `mean`: / batch^2, `sum`: unscaled; if squared, all four

    /// torchdistill (CCKDLoss) and others: the distance, not squared, / batch^2; rows unnormalized. The default.
    static CorrelationCongruenceOptions torchdistill() { return {}; }

    /// \throws ConfigError
    void check() const {
        detail::check_range("CorrelationCongruence", "a gamma", gamma, detail::above(0));
        detail::check_range("CorrelationCongruence", "an order", order, detail::at_least(1));
        if (!squared && (reduction == Reduction::none || reduction == Reduction::batchmean)) {
            throw ConfigError(
                "CorrelationCongruence: the distance of two matrices is one number: expected the reduction "
                "mean or "
                "sum, or squared = true");
        }
    }
};

namespace functional {

/// Distance of the kernel matrices of a batch.
///
/// Formula: \f$ \frac{1}{B^2} \| K_s - K_t \|_F \f$ with K the kernel of all pairs of rows: by default the Gaussian
/// kernel by its Taylor series up to order 2. If `squared`, the squared norm.
/// Shapes: student [batch, ...], teacher [batch, ...]; the widths may differ.
/// Gradient: to the student's feature; the teacher's is a constant. At equality it is 0.
/// Reductions: `mean` (/ batch^2, default) and `sum`; if `squared` also `batchmean` and `none` (the mean of each
/// sample's row).
/// Hazards: depends on the whole batch. The series is the Gaussian kernel only for rows of unit length: see
/// `normalize_input`.
/// Source: Peng, Jin, Liu, Li, Wu, Liu, Zhou, Zhang, "Correlation Congruence for Knowledge Distillation",
/// ICCV 2019; norm and reduction as in torchdistill, with weight 0.003 there.
/// \throws ShapeError, ConfigError
inline at::Tensor correlation_congruence(const at::Tensor& student, const at::Tensor& teacher,
                                         const CorrelationCongruenceOptions& options = {}) {
    options.check();
    const detail::TensorPair rows = detail::row_pair("correlation_congruence", student, teacher);
    const auto kernel = [&](const at::Tensor& given) {
        const at::Tensor feature = options.normalize_input ? detail::unit_rows(given) : given;
        const at::Tensor products = detail::gram(feature);
        if (options.kernel == CorrelationCongruenceOptions::Kernel::bilinear) return products;
        // Horner's scheme: 1 + x (c / 1 + ...) with c = 2 gamma.
        const double c = 2 * options.gamma;
        at::Tensor result = products * (c / static_cast<double>(options.order)) + 1;
        for (std::int64_t p = options.order - 1; p > 0; --p) {
            result = result * products * (c / static_cast<double>(p)) + 1;
        }
        return result * std::exp(-c);
    };
    const at::Tensor difference = kernel(rows.student) - kernel(rows.teacher);
    if (options.squared) return detail::reduce(difference.square(), options.reduction);
    const at::Tensor norm = at::linalg_vector_norm(difference);  // its gradient at 0 is 0
    const auto batch = static_cast<double>(student.size(0));
    return options.reduction == Reduction::mean ? norm / (batch * batch) : norm;
}

/// RepDistiller's loss named CC: products of the differences of neighbors in the batch.
///
/// Formula: \f$ \frac{1}{B-1} \sum_i \sum_d |\delta_{id}| |\delta_{i+1,d}| \f$ with \f$ \delta = e_s - e_t
/// \f$.
/// Shapes: both embeddings [batch, size].
/// Gradient: to both embeddings, as both come from trained maps; pass a detached tensor if one is a constant.
/// Reduction: fixed; a batch of one has no neighbors: 0.
/// Hazards: depends on the order of the samples, and is not the loss of the paper, although published tables quote it
/// as such. 0 as soon as every second sample agrees.
/// Source: RepDistiller, with weight 0.02.
/// \throws ShapeError
inline at::Tensor neighbor_differences(const at::Tensor& student, const at::Tensor& teacher) {
    const at::Tensor own = detail::rows("neighbor_differences", "the student's embedding", student);
    const at::Tensor goal = detail::rows("neighbor_differences", "the teacher's embedding", teacher);
    detail::check_alike("neighbor_differences", "the student's embedding", own, "the teacher's embedding",
                        goal);
    const detail::TensorPair both = detail::in_one_type(own, goal);
    const std::int64_t pairs = both.student.size(0) - 1;
    const at::Tensor difference = (both.student - both.teacher).abs();
    const at::Tensor products = (difference.narrow(0, 0, pairs) * difference.narrow(0, 1, pairs)).sum();
    return pairs > 1 ? products / static_cast<double>(pairs) : products;
}

}  // namespace functional

/// `functional::correlation_congruence` of a student's and a teacher's feature.
///
///     retort::CorrelationCongruence{retort::tap<&SmallOutputs::pooled>, retort::tap<&BigOutputs::pooled>}
template <class StudentTap, class TeacherTap>
class CorrelationCongruence
    : public detail::FunctionTerm<StudentTap, TeacherTap, CorrelationCongruenceOptions,
                                  &functional::correlation_congruence> {
  public:
    explicit CorrelationCongruence(StudentTap student, TeacherTap teacher,
                                   CorrelationCongruenceOptions options = {})
        : CorrelationCongruence::FunctionTerm("correlation_congruence", std::move(student),
                                              std::move(teacher), options) {}
};

/// Options of `NeighborDifferences`.
struct NeighborDifferencesOptions {
    std::int64_t size = 128;  ///< of the embeddings; at least 1

    /// \throws ConfigError
    void check() const { detail::check_range("NeighborDifferences", "a size", size, detail::at_least(1)); }
};

/// RepDistiller's loss named CC, with its two trained linear embeddings.
///
/// Learnable: an embedding of the student's and one of the teacher's feature; built from the first batch.
/// Gradient: to the student's feature and both embeddings. See `functional::neighbor_differences`.
template <class StudentTap, class TeacherTap>
class NeighborDifferences : public detail::EmbeddingTerm<StudentTap, TeacherTap> {
  public:
    explicit NeighborDifferences(StudentTap student, TeacherTap teacher,
                                 NeighborDifferencesOptions options = {})
        : NeighborDifferences::EmbeddingTerm("neighbor_differences", std::move(student), std::move(teacher),
                                             {.size = options.size}) {
        options.check();
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        return this->naming([&] {
            const auto [own, goal] = this->embedded(student, teacher);
            return functional::neighbor_differences(own, goal);
        });
    }
};

}  // namespace retort
