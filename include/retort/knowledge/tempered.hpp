// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term whose temperature follows a schedule.
#pragma once

#include <concepts>
#include <string>

#include <retort/knowledge/concept.hpp>
#include <retort/schedule/constant.hpp>

namespace retort {

/// A term with a member `temperature`, set from a schedule before every use.
///
///     retort::Tempered{retort::SoftTarget{}, retort::Linear{.initial = 8.0, .final = 2.0}}
template <SaysWhatItNeeds Term, WeightSchedule S>
    requires requires(Term& term) {
        { term.temperature } -> std::convertible_to<double>;
    }
struct Tempered {
    static constexpr bool needs_teacher = Term::needs_teacher;
    static constexpr bool needs_target = Term::needs_target;

    Term term{};
    S temperature{};

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        Term now = term;
        now.temperature = temperature.weight(progress);
        return now(student, teacher, batch);
    }
    void check() const {
        if constexpr (requires { term.check(); }) term.check();
        detail::check_schedule(temperature);
    }
    std::string name() const { return detail::term_name(term); }
    // Learnable parts are those of the term.
    auto module() const requires requires(const Term& each) { each.module(); }
    { return term.module(); }
    bool prepared() const { return detail::term_prepared(term); }
    template <class Student, class Teacher, class B>
        requires requires(Term& each, const Student& student, const Teacher* teacher, const B& batch) {
            each.prepare(student, teacher, batch);
        }
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        term.prepare(student, teacher, batch);
    }
};

template <class Term, class S>
Tempered(Term, S) -> Tempered<Term, S>;

}  // namespace retort
