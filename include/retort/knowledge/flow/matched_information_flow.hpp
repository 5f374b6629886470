// SPDX-License-Identifier: BSL-1.0
/// \file
/// Information flow of several layers: each layer of the student with the teacher's layer given by a map.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/flow/information_flow.hpp>
#include <retort/knowledge/flow/layer_map.hpp>

namespace retort {

/// Options of `MatchedInformationFlow` and `functional::matched_information_flow`.
struct MatchedInformationFlowOptions {
    /// Divergence and normalization of each pair: `InformationFlowOptions::released()` or `paper()`.
    InformationFlowOptions layer = {};
    std::optional<LayerMap> map = {};  ///< none: one to one, for equal numbers of layers
    std::vector<double> weights = {};  ///< one per layer of the student, finite; none: all 1

    /// \throws ConfigError
    void check() const {
        layer.check();
        for (const double weight : weights) detail::check_finite("MatchedInformationFlow", "weight", weight);
    }
};

namespace functional {

/// The weighted sum of the divergences of several layers: \f$ \sum_i \alpha_i L(g^i, f^{\kappa(i)}) \f$ with
/// `information_flow` for L.
///
/// Shapes: one tensor [batch, ...] per layer of student and teacher.
/// Gradient: to the student's features. A layer of weight 0 is not computed.
/// Source: Passalis, Tzelepi, Tefas, CVPR 2020, Eq. 9.
/// \throws ShapeError, ConfigError also if map or weights do not match the layers, or all weights are 0
inline at::Tensor matched_information_flow(const std::vector<at::Tensor>& student,
                                           const std::vector<at::Tensor>& teacher,
                                           const MatchedInformationFlowOptions& options = {}) {
    options.check();
    const LayerMap map = options.map.value_or(LayerMap::one_to_one(student.size()));
    if (!options.map && student.size() != teacher.size()) {
        throw ConfigError(detail::concat(
            "matched_information_flow: expected as many layers of student and teacher, or a map, found ",
            student.size(), " and ", teacher.size(), " and none"));
    }
    map.check("matched_information_flow", student.size(), teacher.size());
    if (!options.weights.empty() && options.weights.size() != student.size()) {
        throw ConfigError(detail::concat("matched_information_flow: expected a weight for each of the ",
                                         student.size(), " layers of the student, found ",
                                         options.weights.size()));
    }
    at::Tensor sum;
    for (std::size_t i = 0; i < student.size(); ++i) {
        const double weight = options.weights.empty() ? 1.0 : options.weights[i];
        if (weight == 0) continue;
        at::Tensor value = information_flow(student[i], teacher[map[i]], options.layer);
        if (weight != 1) value = value * weight;
        sum = sum.defined() ? sum + value : value;
    }
    if (!sum.defined()) {
        throw ConfigError(
            "matched_information_flow: expected a layer with a weight other than 0, found none");
    }
    return sum;
}

}  // namespace functional

/// `functional::matched_information_flow` of the layers of two `Taps`, as one term:
///
///     retort::MatchedInformationFlow{retort::Taps{early, middle, late}, retort::Taps{stage1, stage2, stage3, stage4},
///                                    {.map = retort::LayerMap::nearest(student_flow, teacher_flow)}}
///
/// Layers with separate schedules are separate terms: `InformationFlow`.
template <class StudentTaps, class TeacherTaps>
class MatchedInformationFlow
    : public detail::FunctionTerm<StudentTaps, TeacherTaps, MatchedInformationFlowOptions,
                                  &functional::matched_information_flow> {
  public:
    explicit MatchedInformationFlow(StudentTaps student, TeacherTaps teacher,
                                    MatchedInformationFlowOptions options = {})
        : MatchedInformationFlow::FunctionTerm("matched_information_flow", std::move(student),
                                               std::move(teacher), std::move(options)) {}
};

}  // namespace retort
