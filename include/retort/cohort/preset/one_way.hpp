// SPDX-License-Identifier: BSL-1.0
/// \file
/// Graphs in which knowledge flows one way: distillation, and teacher assistants.
#pragma once

#include <cstddef>
#include <cstdint>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/schedule/phases.hpp>

namespace retort {

/// Options of `one_way` and `teacher_assistant`.
struct OneWayOptions {
    CrossEntropy labels{};
    SoftTarget transfer{};
    double label_weight = 0.1;
    double transfer_weight = 0.9;
};

/// Distillation as a graph: the labels and a frozen teacher teach a student. No edge ends at the teacher, so its
/// learner needs no optimizer.
template <std::size_t Teacher, std::size_t Student>
auto one_way(const OneWayOptions& options = {}) {
    static_assert(Teacher != Student, "retort: teacher and student are two learners");
    return TransferGraph(label<Student>(options.labels, gate::Through{}, options.label_weight),
                         edge<Teacher, Student>(options.transfer, gate::Through{}, options.transfer_weight));
}

/// Options of `teacher_assistant`.
struct TeacherAssistantOptions {
    OneWayOptions step{};
    /// Epochs of the assistant; then it is frozen, and the student starts. At least 1.
    std::int64_t assistant_epochs = 0;
};

/// A chain: the frozen teacher teaches an assistant of intermediate size, which then teaches the student; the labels
/// teach both. Learning rates follow the whole run: give the student one that accounts for its start (`Phases`).
///
/// Source: Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020. The released code has
/// (1 - lambda) for the labels and lambda for a divergence that is also divided by the number of classes
/// (`SoftTarget::teacher_free(temperature)`).
/// \throws ConfigError if the number of epochs is below 1
template <std::size_t Teacher, std::size_t Assistant, std::size_t Student>
auto teacher_assistant(const TeacherAssistantOptions& options) {
    static_assert(Teacher != Assistant && Assistant != Student && Teacher != Student,
                  "retort: teacher, assistant and student are three learners");
    const OneWayOptions& step = options.step;
    const auto early = [&](double weight) {
        return Phases{Phase{options.assistant_epochs, weight}, Phase{0, 0.0}};
    };
    const auto late = [&](double weight) {
        return Phases{Phase{options.assistant_epochs, 0.0}, Phase{0, weight}};
    };
    const gate::Through through;
    return TransferGraph(label<Assistant>(step.labels, through, early(step.label_weight)),
                         edge<Teacher, Assistant>(step.transfer, through, early(step.transfer_weight)),
                         label<Student>(step.labels, through, late(step.label_weight)),
                         edge<Assistant, Student>(step.transfer, through, late(step.transfer_weight)));
}

}  // namespace retort
