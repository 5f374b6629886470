// SPDX-License-Identifier: BSL-1.0
/// \file
/// The weighted sum of the terms: Knowledge and Schedule together.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/core/explained.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/detached.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/weighted.hpp>
#include <retort/schedule/schedule.hpp>
#include <retort/trainer/losses.hpp>

namespace retort {

/// See the specialization for `Knowledge` and `Schedule` below.
template <class K, class S>
class Objective {
    static_assert(
        !std::same_as<S, detail::NoSchedule>,
        "retort: the terms have no weights: pass a retort::Schedule{...} with one weight for each, "
        "or write the weights with the terms: retort::Knowledge{0.1 * retort::CrossEntropy{}, ...}");
    static_assert(std::same_as<S, detail::NoSchedule>,
                  "retort: expected the terms in a retort::Knowledge{...} and their weights in a "
                  "retort::Schedule{...}");
};

/// Knowledge and Schedule together: the loss of a batch at a given progress. A term of weight 0 is not computed.
///
///     retort::Objective objective{retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{}},
///                                 retort::Schedule{0.1, 0.9}};
///     at::Tensor loss = objective(student_outputs, teacher_outputs, batch, progress);
///
/// `Objective{Knowledge{0.1 * CrossEntropy{}, 0.9 * SoftTarget{}}}` is equivalent, and of the same type.
template <class... Terms, class... S>
class Objective<Knowledge<Terms...>, Schedule<S...>> {
    static_assert((!detail::is_weighted<Terms> && ...),
                  "retort: the terms of the Knowledge already have weights (weight * term): leave out the "
                  "Schedule, or the "
                  "weights of the terms");
    static_assert(sizeof...(Terms) == sizeof...(S),
                  "retort: a Schedule has one weight for each term of the Knowledge; the numbers of weights "
                  "and terms differ");

  public:
    static constexpr std::size_t size = sizeof...(Terms);
    using Weights = std::array<double, size>;

    explicit Objective(Knowledge<Terms...> knowledge, Schedule<S...> schedule)
        : knowledge_(std::move(knowledge)), schedule_(std::move(schedule)), names_(knowledge_.names()) {}
    template <WeightedKnowledge K>
        requires std::same_as<typename detail::KnowledgeParts<K>::Weights, Schedule<S...>>
    explicit Objective(const K& knowledge) : Objective(knowledge.terms(), knowledge.schedule()) {}

    /// The loss: a tensor without dimensions.
    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress = {}) const {
        return losses(student, &teacher, batch, progress, weights(progress)).total;
    }

    /// The weights at a progress.
    /// \throws ConfigError if a weight is not finite, or all are 0
    Weights weights(const Progress& progress) const {
        const Weights result = schedule_.weights(progress);
        bool any = false;
        for (std::size_t i = 0; i < size; ++i) {
            detail::check_finite_weight("schedule", names_[i], result[i], progress);
            any = any || result[i] != 0;
        }
        if (!any) {
            throw ConfigError(detail::concat("schedule: expected a weight other than 0 in epoch ",
                                             progress.epoch, ", step ", progress.step, ", found none"));
        }
        return result;
    }

    /// Whether a term with a weight other than 0 needs the teacher.
    static bool needs_teacher(const Weights& weights) {
        constexpr std::array<bool, size> needs{bool(Terms::needs_teacher)...};
        bool result = false;
        for (std::size_t i = 0; i < size; ++i) result = result || (needs[i] && weights[i] != 0);
        return result;
    }

    /// Whether a term with a weight other than 0 trains the teacher.
    static bool trains_teacher(const Weights& weights) {
        constexpr std::array<bool, size> trains{detail::trains_teacher<Terms>...};
        bool result = false;
        for (std::size_t i = 0; i < size; ++i) result = result || (trains[i] && weights[i] != 0);
        return result;
    }

    /// The losses with these weights. If a term trains the teacher, the others see its outputs as constants.
    /// \param teacher may be null if `needs_teacher(weights)` is false
    template <class Student, class Teacher, class B>
    Losses losses(const Student& student, const Teacher* teacher, const B& batch, const Progress& progress,
                  const Weights& weights) const {
        (check_term<Terms, Student, Teacher, B>(), ...);
        Losses result;
        result.terms.reserve(size);
        result.weights.reserve(size);
        const auto add_all = [&](const Teacher* constant) {
            [&]<std::size_t... I>(std::index_sequence<I...>) {
                (result.add(weights[I],
                            [&] {
                                return loss(I, std::get<I>(knowledge_.terms()), student,
                                            detail::trains_teacher<Terms> ? teacher : constant, batch,
                                            progress);
                            }),
                 ...);
            }(std::make_index_sequence<size>{});
        };
        if constexpr (Knowledge<Terms...>::trains_teacher) {
            std::optional<Teacher> constant;
            if (teacher != nullptr) constant.emplace(detail::as_constants(*teacher));
            add_all(constant ? &*constant : nullptr);
        } else {
            add_all(teacher);
        }
        return result;
    }

    const Knowledge<Terms...>& knowledge() const { return knowledge_; }
    Knowledge<Terms...>& knowledge() { return knowledge_; }
    const Schedule<S...>& schedule() const { return schedule_; }
    Schedule<S...>& schedule() { return schedule_; }
    /// The terms with the types of their weights, as text, for checkpoints.
    std::string description() const {
        std::string result;
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            ((result.append(I > 0 ? ", " : "")
                  .append(names_[I])
                  .append(" (")
                  .append(detail::type_name<Terms>())
                  .append(") by ")
                  .append(detail::type_name<S>())),
             ...);
        }(std::make_index_sequence<size>{});
        return result;
    }
    /// The names of the terms.
    const std::array<std::string, size>& names() const { return names_; }

  private:
    template <class Term, class Student, class Teacher, class B>
    static consteval void check_term() {
        static_assert(!Term::needs_target || LabeledBatch<B>,
                      "retort: a term of the Knowledge needs targets, but the batches have none");
        static_assert(!Term::needs_teacher || !std::same_as<Teacher, NoOutputs>,
                      "retort: a term of the Knowledge needs a teacher, but there is none (NoTeacher)");
        using Seen = std::conditional_t<Term::needs_teacher, Teacher, NoOutputs>;
        static_assert(ComputesLoss<Term, Student, Seen, B>,
                      "retort: a term of the Knowledge cannot be called as term(student_outputs, "
                      "teacher_outputs, batch) const, or "
                      "does not return an at::Tensor");
    }

    /// The loss of a term.
    /// \throws ShapeError if it has dimensions
    template <class Term, class Student, class Teacher, class B>
    at::Tensor loss(std::size_t position, const Term& term, const Student& student, const Teacher* teacher,
                    const B& batch, const Progress& progress) const {
        const at::Tensor value = detail::explained(
            progress,
            [&] {
                if constexpr (Term::needs_teacher) {
                    return detail::call_term(term, student, *teacher, batch, progress);
                } else {
                    return detail::call_term(term, student, NoOutputs{}, batch, progress);
                }
            },
            [&] { return names_[position] + detail::term_text(student, teacher, batch); });
        if (!value.defined() || value.dim() != 0) {
            throw ShapeError(detail::concat(names_[position], ": expected a loss without dimensions, found ",
                                            detail::shape_text(value),
                                            "; losses per sample (Reduction::none) cannot be trained on"));
        }
        return value;
    }

    Knowledge<Terms...> knowledge_;
    Schedule<S...> schedule_;
    std::array<std::string, size> names_;
};

template <class... Terms, class... S>
Objective(Knowledge<Terms...>, Schedule<S...>) -> Objective<Knowledge<Terms...>, Schedule<S...>>;
template <class K>
Objective(K)
    -> Objective<typename detail::KnowledgeParts<K>::Terms, typename detail::KnowledgeParts<K>::Weights>;

}  // namespace retort
