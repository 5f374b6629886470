// SPDX-License-Identifier: BSL-1.0
/// \file
/// Hierarchical self-supervision augmented distillation (HSAKD, HSSAKD), from a teacher and among peers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/knowledge/logit/augmented_heads.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/network/augmented_network.hpp>

namespace retort {

/// Options of `augmented_teacher`, `augmented_student` and `augmented_peers`. The defaults are the released code's; a
/// weight of 0 omits its part.
struct AugmentedLearningOptions {
    double label_weight = 1.0;  ///< of the labels, for the main head on the plain views
    double joint_weight = 1.0;  ///< of the joint labels, for the auxiliary heads (not in `augmented_student`)
    double head_weight = 1.0;   ///< of the transfer between auxiliary heads
    double response_weight = 1.0;  ///< of the transfer between main heads
    double temperature = 3.0;      ///< of both; above 0
    bool plain_responses = false;  ///< restrict the main heads' transfer to the plain views
    std::int64_t views = 4;        ///< of each sample; at least 1
    CrossEntropy labels{};

    /// \throws ConfigError if an option is out of range
    void check() const {
        for (const auto& [what, weight] :
             {std::pair("a label_weight", label_weight), std::pair("a joint_weight", joint_weight),
              std::pair("a head_weight", head_weight), std::pair("a response_weight", response_weight)}) {
            detail::check_range("AugmentedLearningOptions", what, weight, detail::at_least(0));
        }
        detail::check_temperature("AugmentedLearningOptions", temperature);
        detail::check_view_count("AugmentedLearningOptions", views);
    }
};

namespace detail {

/// The label terms of a learner's heads.
template <std::size_t To, class Heads>
auto augmented_labels(const Heads& heads, const AugmentedLearningOptions& options) {
    const gate::Through through;
    return std::tuple(
        label<To>(OnPlainViews<CrossEntropy>{options.labels, options.views}, through, options.label_weight),
        label<To>(AugmentedCrossEntropy<Heads>(heads, options.views), through, options.joint_weight));
}

/// The edges between the heads of two learners, auxiliary and main.
template <std::size_t From, std::size_t To, class ToHeads, class FromHeads, class Main>
auto augmented_transfer(const ToHeads& to, const FromHeads& from, const Main& main,
                        const AugmentedLearningOptions& options) {
    const gate::Through through;
    return std::tuple(edge<From, To>(AugmentedSoftTarget<ToHeads, FromHeads>(
                                         to, from, {.temperature = options.temperature}),
                                     through, options.head_weight),
                      edge<From, To>(main, through, options.response_weight));
}

/// The main heads' term, on all views or on the plain ones only.
struct AugmentedResponse {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    SoftTarget term{};
    std::int64_t views = 4;
    bool plain = false;

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        const at::Tensor own = student_logits<AugmentedResponse>(student);
        const at::Tensor goal = teacher_logits<AugmentedResponse>(teacher);
        if (!plain) return functional::soft_target(own, goal, term);
        return functional::soft_target(functional::plain_views(own, views),
                                       functional::plain_views(goal, views), term);
    }
    void check() const { term.check(); }
    std::string name() const { return plain ? "soft_target_on_plain_views" : "soft_target"; }
};

inline AugmentedResponse augmented_response(const AugmentedLearningOptions& options) {
    return {SoftTarget{.temperature = options.temperature}, options.views, options.plain_responses};
}

}  // namespace detail

/// Trains a teacher with auxiliary heads, alone: as edges of learner `Position`. Whether the network below the heads
/// is trained with them, separately or not at all is the network's option (`Backbone`).
///
///     const auto teacher = retort::augmented(net, stages, heads, {.backbone = retort::Backbone::frozen});
///     retort::Cohort cohort{retort::Learner{teacher, sgd}};
///     auto run = cohort.along(retort::augmented_teacher());
///     const retort::data::RotatedViews views{retort::data::cifar100_train()};
///     run.fit(retort::data::Loader{dataset, {.batch_size = 64}, views}, ...);
///
/// Formula: \f$ \mathrm{CE}(z(r_0 x), y) + \sum_h \mathrm{CE}(z_h(r_j x), 4 y + j) \f$ with the views \f$ r_j x \f$ of
/// a sample; the second part is a mean over all views.
/// Shapes: batches of `views` consecutive views of each sample, with one target per sample (`data::RotatedViews`).
/// Gradient: to the logits of all heads.
/// Source: see `AugmentedNetwork`.
/// \param heads the taps of the auxiliary heads' logits: `AllHeads`, or `Taps`
/// \throws ConfigError if an option is out of range if an option is out of range
template <std::size_t Position = 0, class Heads = AllHeads>
auto augmented_teacher(const AugmentedLearningOptions& options = {}, const Heads& heads = {}) {
    options.check();
    return detail::graph_of(detail::augmented_labels<Position>(heads, options));
}

/// Distillation from the heads of a trained teacher to those of a student. No edge ends at the teacher, so that its
/// learner needs no optimizer.
///
///     retort::Cohort cohort{retort::Learner{teacher}, retort::Learner{student, sgd}};
///     auto graph = retort::augmented_student<0, 1>();
///
/// Formula: \f$ \mathrm{CE}(z(r_0 x), y) + \sum_h T^2 \mathrm{KL}(p^t_h \| p^s_h) + T^2 \mathrm{KL}(p^t \| p^s) \f$;
/// both divergences are means over all views. The student's heads are not trained on the labels, and their gradients reach its network.
/// Shapes: as `augmented_teacher`; as many heads of both, of equal classes.
/// Gradient: to the student's logits; the teacher's are constants.
/// Source: see `AugmentedNetwork`.
/// \throws ConfigError if an option is out of range if an option is out of range
template <std::size_t Teacher, std::size_t Student, class StudentHeads = AllHeads,
          class TeacherHeads = AllHeads>
auto augmented_student(const AugmentedLearningOptions& options = {}, const StudentHeads& student = {},
                       const TeacherHeads& teacher = {}) {
    static_assert(Teacher != Student, "retort: teacher and student are two learners");
    options.check();
    return detail::graph_of(
        std::tuple_cat(std::tuple(label<Student>(OnPlainViews<CrossEntropy>{options.labels, options.views},
                                                 gate::Through{}, options.label_weight)),
                       detail::augmented_transfer<Teacher, Student>(
                           student, teacher, detail::augmented_response(options), options)));
}

/// Learners with auxiliary heads that learn together: each from the labels, as `augmented_teacher`, and from the
/// heads of all others.
///
/// Formula, for peer i: \f$ \mathrm{CE}(z(r_0 x), y) + \sum_h \mathrm{CE}(z_h(r_j x), 4 y + j) + \sum_{k \ne i} T^2
/// \left( \sum_h \mathrm{KL}(p^k_h \| p^i_h) + \mathrm{KL}(p^k \| p^i) \right) \f$; peers are constants.
/// Shapes: as `augmented_student`.
/// Source: see `AugmentedNetwork`; there N = 2. The sum over more peers is this library's.
/// \tparam N number of learners, at least 2
/// \throws ConfigError if an option is out of range if an option is out of range
template <std::size_t N = 2, class Heads = AllHeads>
auto augmented_peers(const AugmentedLearningOptions& options = {}, const Heads& heads = {}) {
    static_assert(N > 1, "retort: learning from each other needs at least two learners");
    options.check();
    const auto from = [&]<std::size_t To, std::size_t From>(LearnerIndex<To>, LearnerIndex<From>) {
        if constexpr (To == From) {
            return std::tuple();
        } else {
            return detail::augmented_transfer<From, To>(heads, heads, detail::augmented_response(options),
                                                        options);
        }
    };
    const auto to = [&]<std::size_t To, std::size_t... From>(LearnerIndex<To> receiver,
                                                             std::index_sequence<From...>) {
        return std::tuple_cat(detail::augmented_labels<To>(heads, options),
                              from(receiver, LearnerIndex<From>{})...);
    };
    return [&]<std::size_t... To>(std::index_sequence<To...> all) {
        return detail::graph_of(std::tuple_cat(to(LearnerIndex<To>{}, all)...));
    }(std::make_index_sequence<N>{});
}

}  // namespace retort
