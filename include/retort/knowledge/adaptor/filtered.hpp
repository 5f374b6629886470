// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term of which not all samples count, or not all the same.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <concepts>
#include <memory>
#include <string>

#include <retort/core/error.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/filter/concept.hpp>

namespace retort {

namespace detail {

template <class Term>
constexpr bool gives_samples() {
    if constexpr (requires(Term& term) {
                      { term.reduction } -> std::same_as<Reduction&>;
                  }) {
        return true;
    } else if constexpr (requires(Term& term) { term.term; }) {
        return gives_samples<decltype(Term::term)>();
    } else {
        return false;
    }
}

/// Makes a term, or the one that it wraps, give one value per sample.
template <class Term>
void ask_for_samples(Term& term) {
    if constexpr (requires { term.reduction; }) {
        term.reduction = Reduction::none;
    } else {
        ask_for_samples(term.term);
    }
}

}  // namespace detail

/// A term with a choice of reductions, or one that wraps such a term.
template <class Term>
concept PerSampleTerm = SaysWhatItNeeds<Term> && detail::gives_samples<Term>();

/// A term whose samples count as a filter says.
///
///     retort::Filtered{retort::SoftTarget{}, retort::CorrectTeacher{}}
///     retort::Filtered{retort::SoftTarget{}, [](auto&, auto&, const auto& batch) { return batch.weight; }}
///
/// Formula: with the loss \f$ l_i \f$ and the weight \f$ w_i \f$ of each sample, \f$ \sum_i w_i l_i / B \f$
/// (`batchmean`, the default), \f$ \sum_i w_i l_i / \sum_i w_i \f$ (`mean`: over those that count; 0 where
/// none does), \f$ \sum_i w_i l_i \f$ (`sum`), or \f$ w_i l_i \f$ (`none`). The term's own reduction does not
/// matter.
/// Gradient: as the term's; none through the weights.
template <PerSampleTerm Term, class Filter>
struct Filtered {
    static constexpr bool needs_teacher = Term::needs_teacher || detail::filter_needs_teacher<Filter>();
    static constexpr bool needs_target = Term::needs_target || detail::filter_needs_target<Filter>();

    Term term{};
    Filter filter{};
    Reduction reduction = Reduction::batchmean;

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        static_assert(
            SampleFilter<Filter, Student, Teacher, B>,
            "retort: a filter is called as filter(student_outputs, teacher_outputs, batch) const and "
            "returns a tensor");
        Term each = term;
        detail::ask_for_samples(each);
        const at::Tensor losses = detail::call_term(each, student, teacher, batch, progress);
        at::Tensor weights = filter(student, teacher, batch);
        if (!weights.defined() || weights.sizes() != losses.sizes() || weights.device() != losses.device()) {
            detail::check_alike(name(), "the losses", losses, "the filter's weights", weights);
        }
        weights = detail::constant(weights);
        if (weights.scalar_type() != losses.scalar_type()) weights = weights.to(losses.scalar_type());
        const at::Tensor weighted = losses * weights;
        switch (reduction) {
            case Reduction::none:
                return weighted;
            case Reduction::sum:
                return weighted.sum();
            case Reduction::mean:
                return weighted.sum() / weights.sum().clamp_min(1e-12);
            case Reduction::batchmean:
                break;
        }
        return weighted.mean();
    }
    void check() const {
        detail::check_term(term);
        if constexpr (requires { filter.check(); }) filter.check();
    }
    std::string name() const { return "filtered_" + detail::term_name(term); }

    // Learnable parts are those of the term.
    std::shared_ptr<torch::nn::Module> module() const { return detail::term_module(term); }
    bool prepared() const { return detail::term_prepared(term); }
    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        detail::prepare_term(term, student, teacher, batch);
    }
};

template <class Term, class Filter>
Filtered(Term, Filter) -> Filtered<Term, Filter>;
template <class Term, class Filter>
Filtered(Term, Filter, Reduction) -> Filtered<Term, Filter>;

}  // namespace retort
