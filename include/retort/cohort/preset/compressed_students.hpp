// SPDX-License-Identifier: BSL-1.0
/// \file
/// Online ensemble of increasingly compressed students that share their stem (BOC-KD).
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/error.hpp>
#include <retort/knowledge/adaptor/within.hpp>
#include <retort/knowledge/connector/concept.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/network/stem_ensemble.hpp>
#include <retort/tap/logits_tap.hpp>
#include <retort/tap/of_student.hpp>
#include <retort/tap/taps.hpp>

namespace retort {

/// The number of a stage's channels that a student keeps: \f$ \lfloor c (N - j) / N \rfloor \f$ of c for student j of
/// N; student 0 keeps all.
/// Source: see `compressed_students`.
/// \throws ConfigError if there is no such student, or no channel would be left
inline std::int64_t compressed_channels(std::int64_t channels, std::int64_t student, std::int64_t students) {
    if (student < 0 || student >= students) {
        throw ConfigError(detail::concat("compressed_channels: expected a student from 0 to ", students - 1,
                                         " of ", students, ", found ", student));
    }
    const std::int64_t kept = channels * (students - student) / students;
    if (kept < 1) {
        throw ConfigError(detail::concat("compressed_channels: expected at least 1 channel for student ",
                                         student, " of ", students, ", found ", kept, " of ", channels));
    }
    return kept;
}

/// Options of `compressed_students`. The defaults are those of the released code for CIFAR-100; it has different ones
/// for CIFAR-10.
struct CompressedStudentsOptions {
    double label_weight = 0.7;      ///< r_0, of each student's cross-entropy
    double feature_weight = 0.15;   ///< r_1, of the features of student 0
    double response_weight = 0.15;  ///< r_2, of the ensemble's logits
    double temperature = 2.0;       ///< above 0
    /// Of the ensemble's own cross-entropy, which the released code only logs. It only trains the weights of the
    /// ensemble, if these are trainable.
    double ensemble_weight = 0.0;
    CrossEntropy labels{};

    /// \throws ConfigError
    void check() const {
        for (const auto& [what, weight] :
             {std::pair("a label_weight", label_weight), std::pair("a feature_weight", feature_weight),
              std::pair("a response_weight", response_weight),
              std::pair("an ensemble_weight", ensemble_weight)}) {
            detail::check_range("CompressedStudentsOptions", what, weight, detail::at_least(0));
        }
        detail::check_temperature("CompressedStudentsOptions", temperature);
    }
};

/// BOC-KD as edges of a learner that is an ensemble of students (`stem_ensemble`, or any network whose outputs have
/// members `students` and `logits`, those of the ensemble): student 0, which is not compressed, teaches the others by
/// its features, their ensemble teaches all by its logits.
///
///     auto graph = retort::compressed_students<3>(
///         retort::Taps{retort::tap<&Outputs::stages, 0>, retort::tap<&Outputs::stages, 1>,
///                      retort::tap<&Outputs::stages, 2>});
///
/// Formula: \f$ r_0 \sum_j \mathrm{CE}(z_j, y) + r_1 \sum_b \sum_{j > 0} \mathrm{mean} (A_{bj}(F^b_j) - F^b_0)^2 + r_2
/// \sum_j T^2 \mathrm{KL}(p_e \| p_j) \f$; features of student 0 and logits of the ensemble are constants.
/// Learnable: the adaptations A, one per block and student, built from the first batch and in the optimizer from the
/// first step. (In the released code they are not trained in the first epoch; then they are added to a new optimizer,
/// at half the learning rate, and the optimizer state of all others is lost.)
/// \param blocks `Taps` of a student's outputs: the blocks' feature maps
/// \param adaptation connector; `Identity` if the taps already have equal sizes
/// Source: Walawalkar, Shen, Savvides, "Online Ensemble Model Compression using Knowledge Distillation", ECCV 2020, as
/// in the released code.
/// \tparam N number of students, at least 2
/// \tparam Position of the learner whose edges these are
/// \throws ConfigError if an option is out of range
template <std::size_t N, std::size_t Position = 0, class... Blocks, Connector Adaptation = Conv1x1>
auto compressed_students(const Taps<Blocks...>& blocks, const CompressedStudentsOptions& options = {},
                         const Adaptation& adaptation = {}) {
    static_assert(N > 1, "retort: an ensemble of compressed students needs at least two of them");
    options.check();
    const gate::Through through;
    const LogitsTap answer;
    const SoftTarget soft{.temperature = options.temperature};
    const auto hints_of = [&](const auto& block) {
        return [&]<std::size_t... J>(std::index_sequence<J...>) {
            return std::tuple(
                edge<Position, Position>(Hint(of_student<J + 1>(block), of_student<0>(block), adaptation),
                                         through, options.feature_weight)...);
        }(std::make_index_sequence<N - 1>{});
    };
    const auto hints =
        std::apply([&](const auto&... block) { return std::tuple_cat(hints_of(block)...); }, blocks.all());
    return [&]<std::size_t... J>(std::index_sequence<J...>) {
        return detail::graph_of(std::tuple_cat(
            std::tuple(label<Position>(Within(options.labels, of_student<J>(answer)), through,
                                       options.label_weight)...),
            hints,
            std::tuple(label<Position>(Within(soft, of_student<J>(answer), answer), through,
                                       options.response_weight)...),
            std::tuple(label<Position>(Within(options.labels, answer), through, options.ensemble_weight))));
    }(std::make_index_sequence<N>{});
}

}  // namespace retort
