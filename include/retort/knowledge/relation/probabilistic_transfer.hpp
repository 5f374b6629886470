// SPDX-License-Identifier: BSL-1.0
/// \file
/// Probabilistic knowledge transfer (PKT): which samples of a batch are neighbors.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/relation/kernel.hpp>
#include <retort/tap/tap.hpp>

namespace retort {

/// Options of `ProbabilisticTransfer`, `ClassNeighbors` and their functions.
struct ProbabilisticTransferOptions {
    Kernel kernel = {.epsilon = 1e-7};      ///< of both networks
    double epsilon = 1e-7;                  ///< added to probabilities inside the logarithm; above 0
    Reduction reduction = Reduction::mean;  ///< elements are pairs of samples

    /// RepDistiller, mdistiller and the authors' code: mean over the batch^2 pairs. The default.
    static ProbabilisticTransferOptions rep_distiller() { return {}; }

    /// \throws ConfigError
    void check() const {
        kernel.check("ProbabilisticTransfer");
        detail::check_range("ProbabilisticTransfer", "an epsilon", epsilon, detail::above(0));
    }
};

namespace detail {

inline at::Tensor divergence_from(const at::Tensor& probabilities, const at::Tensor& student,
                                  const ProbabilisticTransferOptions& options) {
    const auto elements = [probabilities, epsilon = options.epsilon](const Neighbors& own) {
        return probabilities * ((probabilities + epsilon) / (own.probability + epsilon)).log();
    };
    if (is_logarithmic(options.kernel)) {
        return reduce(elements(neighbors(student, options.kernel, false)), options.reduction);
    }
    return neighbor_divergence(
        similarities(student, options.kernel), /*with_logarithm=*/false, options.reduction, elements,
        [&](const Neighbors& own) { return probabilities.div(own.probability + options.epsilon).neg_(); });
}

}  // namespace detail

namespace functional {

/// Divergence of the student's neighborhoods in a batch from the teacher's.
///
/// Formula: \f$ \mathrm{mean}_{ij}\, p^t_{ij} \log \frac{p^t_{ij} + \epsilon}{p^s_{ij} + \epsilon} \f$ with
/// \f$ p_{ij} = K_{ij} / \sum_k K_{ik} \f$, K the kernel; the diagonal counts.
/// Shapes: student [batch, ...], teacher [batch, ...]; the widths may differ.
/// Gradient: to the student's feature; the teacher's is a constant. An all-zero row gets a finite gradient,
/// up to 1 / epsilon times the others', where the released code gives NaN.
/// Reductions: `mean` over pairs (default), `batchmean` (the divergence of a row, on average), `sum`, `none`
/// (the mean of each sample's row).
/// Hazards: depends on the whole batch. The mean over batch^2 explains the usual weight of 30000
/// (RepDistiller, mdistiller).
/// Source: Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018;
/// kernel, epsilon and reduction as in the authors' code.
/// \throws ShapeError, ConfigError
inline at::Tensor probabilistic_transfer(const at::Tensor& student, const at::Tensor& teacher,
                                         const ProbabilisticTransferOptions& options = {}) {
    options.check();
    const detail::TensorPair rows = detail::row_pair("probabilistic_transfer", student, teacher);
    return detail::divergence_from(detail::neighbors(rows.teacher, options.kernel, false).probability,
                                   rows.student, options);
}

/// Divergence of the student's neighborhoods from those of the labels: samples of the same class are neighbors,
/// equally. The supervised part of PKT.
///
/// Formula: as `probabilistic_transfer`, with K = 1 for two samples of one class, else 0, in place of the
/// teacher's kernel.
/// Shapes: student [batch, ...], target [batch] class indices.
/// Gradient: to the student's feature.
/// Source: the authors' code of "Learning Deep Representations with Probabilistic Knowledge Transfer".
/// \throws ShapeError, ConfigError
inline at::Tensor class_neighbors(const at::Tensor& student, const at::Tensor& target,
                                  const ProbabilisticTransferOptions& options = {}) {
    options.check();
    const at::Tensor feature = detail::rows("class_neighbors", "the student's feature", student);
    detail::check_defined("class_neighbors", "the targets", target);
    if (target.dim() != 1 || target.size(0) != feature.size(0) || target.is_floating_point()) {
        throw ShapeError(detail::concat("class_neighbors: expected ", feature.size(0),
                                        " class indices, one for each sample, found ",
                                        detail::shape_text(target), " of ", target.scalar_type()));
    }
    detail::check_same_device("class_neighbors", "the student's feature", feature, "the targets", target);
    const at::Tensor alike = (target.unsqueeze(1) == target.unsqueeze(0)).to(feature.scalar_type());
    return detail::divergence_from(alike / alike.sum(1, /*keepdim=*/true), feature, options);
}

}  // namespace functional

/// `functional::probabilistic_transfer` of a student's and a teacher's feature.
///
///     retort::ProbabilisticTransfer{retort::tap<&SmallOutputs::pooled>, retort::tap<&BigOutputs::pooled>}
template <class StudentTap, class TeacherTap>
class ProbabilisticTransfer
    : public detail::FunctionTerm<StudentTap, TeacherTap, ProbabilisticTransferOptions,
                                  &functional::probabilistic_transfer> {
  public:
    explicit ProbabilisticTransfer(StudentTap student, TeacherTap teacher,
                                   ProbabilisticTransferOptions options = {})
        : ProbabilisticTransfer::FunctionTerm("probabilistic_transfer", std::move(student),
                                              std::move(teacher), options) {}
};

/// `functional::class_neighbors` of a student's feature and the targets. Supervised PKT is the sum of both:
///
///     retort::Sum{retort::ProbabilisticTransfer{small, big}, 0.1 * retort::ClassNeighbors{small}}
template <class StudentTap>
class ClassNeighbors {
  public:
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = true;

    explicit ClassNeighbors(StudentTap student, ProbabilisticTransferOptions options = {})
        : student_(std::move(student)), options_(options) {
        options_.check();
    }
    std::string name() const { return detail::concat("class_neighbors(", detail::tap_name(student_), ')'); }
    void check() const { options_.check(); }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher&, const B& batch) const {
        static_assert(LabeledBatch<B>, "retort: ClassNeighbors needs a batch with targets");
        return detail::naming_taps(*this, "class_neighbors", [&] {
            return functional::class_neighbors(student_(student), retort::target(batch), options_);
        });
    }

  private:
    StudentTap student_;
    ProbabilisticTransferOptions options_;
};

}  // namespace retort
