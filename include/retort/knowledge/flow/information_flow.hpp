// SPDX-License-Identifier: BSL-1.0
/// \file
/// Information-flow divergence: the neighborhoods of the samples in each layer.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <limits>
#include <optional>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/relation/kernel.hpp>

namespace retort {

/// How two neighborhoods p (teacher) and q (student) are compared, element by element.
enum class NeighborDivergence {
    jeffreys,     ///< (p - q) (log p - log q)
    kl,           ///< p log(epsilon + p / (epsilon + q)), as released: about -epsilon, not 0, for equal ones
    abs,          ///< |p - q|
    squared,      ///< (p - q)^2
    exponential,  ///< p (log p - log q)^2
    kagan,        ///< (p - q)^2 / p
};

/// Options of `InformationFlow` and `functional::information_flow`.
struct InformationFlowOptions {
    /// Cosine and Student-t kernel, one divergence each, added: the paper's `hybrid`, `combined` in the code. Takes
    /// the degree from `kernel`.
    bool combined = true;
    Kernel kernel = {};                         ///< of both networks; its kind is used unless combined
    std::optional<Kernel> teacher_kernel = {};  ///< of the teacher, if different
    NeighborDivergence divergence = NeighborDivergence::jeffreys;
    bool diagonal = true;                   ///< whether a sample counts as a neighbor of itself
    Reduction reduction = Reduction::mean;  ///< elements are the counted pairs
    double epsilon = 1e-6;                  ///< of the divergence `kl`; above 0

    /// The authors' released code: the diagonal counts, mean over the batch^2 pairs. The default, as the published
    /// weights of the layers (1 for the last, 100 * 0.7^epoch for the others) refer to this scale.
    static InformationFlowOptions released() { return {}; }
    /// The paper's formula as reported by others: k != i, the sum over all pairs; larger by about batch^2.
    static InformationFlowOptions paper() { return {.diagonal = false, .reduction = Reduction::sum}; }

    /// \throws ConfigError
    void check() const {
        kernel.check("InformationFlow");
        if (teacher_kernel) teacher_kernel->check("InformationFlow");
        detail::check_range("InformationFlow", "an epsilon", epsilon, detail::above(0));
    }
};

namespace detail {

inline at::Tensor flow_divergence(const TensorPair& rows, const Kernel& own, const Kernel& goal,
                                  const InformationFlowOptions& options) {
    const std::int64_t batch = rows.student.size(0);
    const bool logarithms = options.divergence == NeighborDivergence::jeffreys ||
                            options.divergence == NeighborDivergence::exponential;
    const Neighbors of_teacher = neighbors(rows.teacher, goal, logarithms, options.diagonal);
    const at::Tensor &p = of_teacher.probability, &teacher = of_teacher.logarithm;
    if (options.divergence == NeighborDivergence::jeffreys && options.diagonal && !is_logarithmic(own)) {
        return neighbor_divergence(
            similarities(rows.student, own), /*with_logarithm=*/true, options.reduction,
            [of_teacher](const Neighbors& each) {
                return (of_teacher.probability - each.probability) * (of_teacher.logarithm - each.logarithm);
            },
            [&](const Neighbors& each) { return each.logarithm.sub(teacher).sub_(p / each.probability); });
    }
    const auto [q, student] = neighbors(rows.student, own, logarithms, options.diagonal);
    at::Tensor values;
    switch (options.divergence) {
        case NeighborDivergence::jeffreys:
            values = (p - q) * (teacher - student);
            break;
        case NeighborDivergence::kl:
            values = p * (p / (q + options.epsilon) + options.epsilon).log();
            break;
        case NeighborDivergence::abs:
            values = (p - q).abs();
            break;
        case NeighborDivergence::squared:
            values = (p - q).square();
            break;
        case NeighborDivergence::exponential:
            values = p * (teacher - student).square();
            break;
        case NeighborDivergence::kagan:
            // Underflowed probabilities are clamped to the smallest normal number.
            values = (p - q).square() / p.clamp_min(static_cast<double>(std::numeric_limits<float>::min()));
            break;
    }
    if (options.diagonal || batch == 1) return reduce(values, options.reduction);
    const auto others = static_cast<double>(batch - 1);
    switch (options.reduction) {
        case Reduction::none:
            return values.sum(1) / others;
        case Reduction::mean:
            return values.sum() / (others * static_cast<double>(batch));
        case Reduction::sum:
        case Reduction::batchmean:
            break;
    }
    return reduce(values, options.reduction);
}

}  // namespace detail

namespace functional {

/// Divergence of a batch's neighborhoods in a layer of the student from those in a layer of the teacher.
///
/// Formula: \f$ p_{ij} = K^t_{ij} / \sum_k K^t_{ik} \f$, \f$ q_{ij} \f$ likewise of the student, with the
/// kernel K; by default \f$ \mathrm{mean}_{ij} (p_{ij} - q_{ij})(\log p_{ij} - \log q_{ij}) \f$ (Jeffreys) of
/// the cosine kernel plus that of the Student-t kernel.
/// Shapes: student [batch, ...], teacher [batch, ...]; the widths may differ.
/// Gradient: to the student's feature; the teacher's is a constant. An all-zero row gets a finite gradient
/// where the released code gives NaN.
/// Reductions: `mean` over the counted pairs (default), `batchmean`, `sum`, `none` (the mean of each sample's row).
/// Hazards: depends on the whole batch. Kernels are at least 1e-12, so that the logarithm exists for opposite rows.
/// With the paper's normalization a batch of one has no pairs: 0.
/// Source: Passalis, Tzelepi, Tefas, "Heterogeneous Knowledge Distillation Using Information Flow Modeling",
/// CVPR 2020, Eq. 7 and 8, and the authors' code.
/// \throws ShapeError, ConfigError
inline at::Tensor information_flow(const at::Tensor& student, const at::Tensor& teacher,
                                   const InformationFlowOptions& options = {}) {
    options.check();
    const detail::TensorPair rows = detail::row_pair("information_flow", student, teacher);
    const auto divergence = [&](const Kernel& own, const Kernel& goal) {
        return detail::flow_divergence(rows, own, goal, options);
    };
    Kernel own = options.kernel;
    Kernel goal = options.teacher_kernel.value_or(options.kernel);
    if (!options.combined) return divergence(own, goal);
    own.kind = goal.kind = Kernel::Kind::cosine;
    const at::Tensor cosine = divergence(own, goal);
    own.kind = goal.kind = Kernel::Kind::student_t;
    return cosine + divergence(own, goal);
}

}  // namespace functional

/// `functional::information_flow` of a layer of the student and a layer of the teacher.
///
///     retort::Knowledge{retort::InformationFlow{last, last},
///                       retort::Sum{retort::InformationFlow{early, early}, retort::InformationFlow{middle, middle}}}
///     retort::Schedule{1.0, retort::Exponential{.initial = 100.0, .factor = 0.7}}
template <class StudentTap, class TeacherTap>
class InformationFlow : public detail::FunctionTerm<StudentTap, TeacherTap, InformationFlowOptions,
                                                    &functional::information_flow> {
  public:
    explicit InformationFlow(StudentTap student, TeacherTap teacher, InformationFlowOptions options = {})
        : InformationFlow::FunctionTerm("information_flow", std::move(student), std::move(teacher), options) {
    }
};

}  // namespace retort
