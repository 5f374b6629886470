// SPDX-License-Identifier: BSL-1.0
/// \file
/// Flow of solution procedure (FSP): the relation between the features of neighboring layers.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/adaptive_max_pool2d.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/core/reduction.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `SolutionProcedure` and `functional::solution_procedure`.
struct SolutionProcedureOptions {
    /// How the larger of two maps is pooled to the size of the smaller.
    enum class Pool { average, max };
    /// What is summed.
    enum class Distance {
        squared,       ///< squared differences of the elements
        column_norms,  ///< Euclidean lengths of the columns, one for each channel of the deeper layer
    };
    Pool pool = Pool::average;
    Distance distance = Distance::squared;
    Reduction reduction = Reduction::mean;  ///< elements are those of one pair's matrices, or their columns
    std::vector<double> weights = {};       ///< one for each pair of neighboring layers; empty: 1 each

    /// RepDistiller: average pooling, mean squared difference. The default.
    static SolutionProcedureOptions rep_distiller() { return {}; }
    /// torchdistill (FSPLoss): max pooling, lengths of columns, summed, mean over the samples.
    static SolutionProcedureOptions torchdistill() {
        return {.pool = Pool::max, .distance = Distance::column_norms, .reduction = Reduction::batchmean};
    }

    /// \throws ConfigError
    void check() const {
        for (const double weight : weights) detail::check_finite("SolutionProcedure", "weight", weight);
    }
};

namespace detail {

/// Layers of both sides, in one type.
struct LayerPairs {
    std::vector<at::Tensor> student, teacher;
};

/// \throws ShapeError unless both are lists of equally many maps [batch, channels, height, width], at least 2
inline LayerPairs layer_pairs(std::string_view where, const std::vector<at::Tensor>& student,
                              const std::vector<at::Tensor>& teacher) {
    if (student.size() != teacher.size() || student.size() < 2) {
        throw ShapeError(
            concat(where, ": expected at least two layers, as many of the student as of the teacher, found ",
                   student.size(), " and ", teacher.size()));
    }
    for (std::size_t layer = 0; layer < student.size(); ++layer) {
        for (const auto* each : {&student[layer], &teacher[layer]}) {
            const char* whose = each == &student[layer] ? "student" : "teacher";
            check_defined(where, concat("the ", whose, "'s layer ", layer), *each);
            if (each->dim() != 4 || each->numel() == 0 || !each->is_floating_point() ||
                each->size(0) != student[0].size(0) || each->device() != student[0].device()) {
                throw ShapeError(concat(
                    where,
                    ": expected floating-point maps [batch, channels, height, width] of one "
                    "batch on one device, found the ",
                    whose, "'s layer ", layer, " ", shape_text(*each), " of ", each->scalar_type(), " on ",
                    each->device(), " beside ", shape_text(student[0]), " on ", student[0].device()));
            }
        }
    }
    at::ScalarType type = student[0].scalar_type();
    for (const auto* side : {&student, &teacher}) {
        for (const at::Tensor& layer : *side) type = c10::promoteTypes(type, layer.scalar_type());
    }
    LayerPairs result;
    for (const at::Tensor& layer : student) result.student.push_back(in_type(layer, type));
    for (const at::Tensor& layer : teacher) result.teacher.push_back(in_type(layer, type));
    return result;
}

/// [batch, channels of the first, channels of the second]: products of the channels, mean over the positions.
inline at::Tensor solution_matrix(const at::Tensor& first, const at::Tensor& second,
                                  SolutionProcedureOptions::Pool pool) {
    const std::int64_t height = std::min(first.size(2), second.size(2));
    const std::int64_t width = std::min(first.size(3), second.size(3));
    const auto flat = [&](const at::Tensor& layer) {
        at::Tensor map = at_least_float32(layer);
        if (map.size(2) != height || map.size(3) != width) {
            map = pool == SolutionProcedureOptions::Pool::average
                      ? at::adaptive_avg_pool2d(map, {height, width})
                      : std::get<0>(at::adaptive_max_pool2d(map, {height, width}));
        }
        return map.flatten(2);
    };
    return at::bmm(flat(first), flat(second).transpose(1, 2)) / static_cast<double>(height * width);
}

}  // namespace detail

namespace functional {

/// Difference of the Gram matrices between the channels of neighboring layers.
///
/// Formula: \f$ G_{bij} = \frac{1}{hw} \sum_{x} F^{l}_{bix} F^{l+1}_{bjx} \f$ of neighboring layers l and l
/// + 1, the larger map pooled to the size of the smaller; by default \f$ \sum_l w_l\, \mathrm{mean}_{bij}
/// (G^s - G^t)^2 \f$.
/// Shapes: lists from shallow to deep of [batch, channels, height, width]; channels of student and teacher
/// are equal layer by layer, heights and widths may differ.
/// Gradient: to the student's layers; the teacher's are constants.
/// Reductions, per pair: `mean` over all elements (default), `batchmean`, `sum`, `none` (the mean of each sample's).
/// Source: Yim, Joo, Bae, Kim, "A Gift from Knowledge Distillation", CVPR 2017. There it is a separate first stage
/// (`Phases`); RepDistiller gives it weight 50 and 30 epochs.
/// \throws ShapeError, ConfigError
inline at::Tensor solution_procedure(const std::vector<at::Tensor>& student,
                                     const std::vector<at::Tensor>& teacher,
                                     const SolutionProcedureOptions& options = {}) {
    options.check();
    const detail::LayerPairs both = detail::layer_pairs("solution_procedure", student, teacher);
    for (std::size_t layer = 0; layer < both.student.size(); ++layer) {
        if (both.student[layer].size(1) != both.teacher[layer].size(1)) {
            throw ShapeError(detail::concat("solution_procedure: expected layers of equal channels, found ",
                                            detail::shape_text(both.student[layer]), " of the student and ",
                                            detail::shape_text(both.teacher[layer]),
                                            " of the teacher at layer ", layer));
        }
    }
    const std::size_t pairs = both.student.size() - 1;
    if (!options.weights.empty() && options.weights.size() != pairs) {
        throw ConfigError(detail::concat("SolutionProcedure: expected ", pairs,
                                         " weights, one for each pair of neighboring layers, found ",
                                         options.weights.size()));
    }
    at::Tensor result;
    for (std::size_t pair = 0; pair < pairs; ++pair) {
        const at::Tensor goal = detail::solution_matrix(
            detail::constant(both.teacher[pair]), detail::constant(both.teacher[pair + 1]), options.pool);
        const at::Tensor difference =
            detail::solution_matrix(both.student[pair], both.student[pair + 1], options.pool) - goal;
        at::Tensor value = options.distance == SolutionProcedureOptions::Distance::squared
                               ? difference.square().flatten(1)
                               : at::linalg_vector_norm(difference, 2, at::IntArrayRef({1}));
        value = detail::reduce(value, options.reduction);
        if (!options.weights.empty()) value = value * options.weights[pair];
        result = result.defined() ? result + value : value;
    }
    return result;
}

}  // namespace functional

/// `functional::solution_procedure` of several layers of a student and a teacher.
///
///     retort::SolutionProcedure{retort::Taps{early, middle, late}, retort::Taps{early, middle, late}}
template <class StudentTaps, class TeacherTaps>
class SolutionProcedure : public detail::FunctionTerm<StudentTaps, TeacherTaps, SolutionProcedureOptions,
                                                      &functional::solution_procedure> {
  public:
    explicit SolutionProcedure(StudentTaps student, TeacherTaps teacher,
                               SolutionProcedureOptions options = {})
        : SolutionProcedure::FunctionTerm("solution_procedure", std::move(student), std::move(teacher),
                                          std::move(options)) {}
};

}  // namespace retort
