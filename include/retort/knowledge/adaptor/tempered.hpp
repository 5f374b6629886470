// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term whose temperature follows a schedule.
#pragma once

#include <concepts>

#include <retort/checkpoint/archive.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
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
struct Tempered : TermAdaptor<Term> {
    S temperature{};

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        Term now = this->term();
        now.temperature = temperature.weight(progress);
        return detail::call_term(now, student, teacher, batch, progress);
    }
    void check() const {
        TermAdaptor<Term>::check();
        detail::check_policy(temperature);
    }
    /// Stores or sets the state of the term and of the schedule.
    void checkpoint(Archive& archive) {
        TermAdaptor<Term>::checkpoint(archive);
        detail::archive_policy(archive, "temperature", temperature);
    }
};

template <class Term, class S>
Tempered(Term, S) -> Tempered<Term, S>;

}  // namespace retort
