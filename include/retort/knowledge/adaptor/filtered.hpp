// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term with a weight for each sample.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/filter/concept.hpp>

namespace retort {

/// A term whose samples are weighted by a filter.
///
///     retort::Filtered{retort::SoftTarget{}, retort::CorrectTeacher{}}
///     retort::Filtered{retort::SoftTarget{}, [](auto&, auto&, const auto& batch) { return batch.weight; }}
///
/// Formula: with the loss \f$ l_i \f$ and the weight \f$ w_i \f$ of each sample, \f$ \sum_i w_i l_i / B \f$
/// (`batchmean`, the default), \f$ \sum_i w_i l_i / \sum_i w_i \f$ (`mean`: over those that count; 0 if
/// none does), \f$ \sum_i w_i l_i \f$ (`sum`), or \f$ w_i l_i \f$ (`none`). The term's own reduction does not
/// matter.
/// Gradient: as the term's; none through the weights.
template <PerSampleTerm Term, class Filter>
class Filtered : public TermAdaptor<Term> {
    static_assert(!detail::HasModule<Filter>,
                  "retort: a filter with learnable parts (a member module): nothing would train them");

  public:
    static constexpr bool needs_teacher = Term::needs_teacher || detail::filter_needs_teacher<Filter>();
    static constexpr bool needs_target = Term::needs_target || detail::filter_needs_target<Filter>();

    Filter filter;
    Reduction reduction;

    explicit Filtered(Term term = {}, Filter by = {}, Reduction over = Reduction::batchmean)
        : TermAdaptor<Term>(std::move(term)), filter(std::move(by)), reduction(over) {
        this->give_samples();
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        static_assert(
            SampleFilter<Filter, Student, Teacher, B>,
            "retort: a filter must be callable as filter(student_outputs, teacher_outputs, batch) const and "
            "return a tensor");
        const at::Tensor losses = this->call(student, teacher, batch, progress);
        at::Tensor weights = filter(student, teacher, batch);
        if (!weights.defined() || weights.sizes() != losses.sizes() || weights.device() != losses.device()) {
            detail::check_alike(name(), "the losses", losses, "the filter's weights", weights);
        }
        weights = detail::constant(weights);
        if (weights.scalar_type() != losses.scalar_type()) weights = weights.to(losses.scalar_type());
        const at::Tensor weighted = losses * weights;
        if (reduction == Reduction::mean) return weighted.sum() / weights.sum().clamp_min(1e-12);
        return detail::reduce(weighted, reduction);
    }
    void check() const {
        TermAdaptor<Term>::check();
        detail::check_policy(filter);
    }
    std::string name() const { return "filtered_" + TermAdaptor<Term>::name(); }
    /// Stores or sets the state of the term and of the filter.
    void checkpoint(Archive& archive) {
        TermAdaptor<Term>::checkpoint(archive);
        detail::archive_policy(archive, "filter", filter);
    }
};

template <class Term, class Filter>
Filtered(Term, Filter) -> Filtered<Term, Filter>;
template <class Term, class Filter>
Filtered(Term, Filter, Reduction) -> Filtered<Term, Filter>;

}  // namespace retort
