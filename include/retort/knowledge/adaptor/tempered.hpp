// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term whose temperature follows a schedule.
#pragma once

#include <concepts>
#include <memory>
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
        return detail::call_term(now, student, teacher, batch, progress);
    }
    void check() const {
        detail::check_term(term);
        detail::check_schedule(temperature);
    }
    std::string name() const { return detail::term_name(term); }
    // Learnable parts are those of the term.
    std::shared_ptr<torch::nn::Module> module() const { return detail::term_module(term); }
    bool prepared() const { return detail::term_prepared(term); }
    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        detail::prepare_term(term, student, teacher, batch);
    }
};

template <class Term, class S>
Tempered(Term, S) -> Tempered<Term, S>;

}  // namespace retort
