// SPDX-License-Identifier: BSL-1.0
/// \file
/// The base of terms that hold other terms.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/network.hpp>
#include <retort/core/progress.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/terms.hpp>

namespace retort {

/// The base of terms that hold other terms: has all members of a term except for the loss, and forwards them. A derived
/// class states only what it changes.
///
///     template <retort::SaysWhatItNeeds Term>
///     struct SquareRoot : retort::TermAdaptor<Term> {
///         at::Tensor operator()(const auto& student, const auto& teacher, const auto& batch,
///                               const retort::Progress& progress) const {
///             return this->call(student, teacher, batch, progress).sqrt();
///         }
///         std::string name() const { return "root_of_" + retort::TermAdaptor<Term>::name(); }
///     };
///     template <class Term>
///     SquareRoot(Term) -> SquareRoot<Term>;
///
///     retort::Knowledge{retort::CrossEntropy{}, SquareRoot{retort::SoftTarget{}}}
///
/// A term adaptor that also holds a filter or a schedule stores it in its `checkpoint`, after the base's; one that
/// calls its terms with other outputs also passes these to their `prepare`.
template <SaysWhatItNeeds... Terms>
class TermAdaptor {
    static_assert(sizeof...(Terms) > 0, "retort: a TermAdaptor holds at least one term");

  public:
    static constexpr bool needs_teacher = (Terms::needs_teacher || ...);
    static constexpr bool needs_target = (Terms::needs_target || ...);
    static constexpr bool trains_teacher = (detail::trains_teacher<Terms> || ...);
    static constexpr bool reads_parameters = (detail::reads_parameters<Terms> || ...);

    TermAdaptor() = default;
    // Not explicit, so that a derived aggregate is initialized with its terms first.
    explicit(false) TermAdaptor(Terms... terms) : terms_(std::move(terms)...) {}

    /// The term; the first of several.
    const auto& term() const { return std::get<0>(terms_); }
    const std::tuple<Terms...>& terms() const { return terms_; }

    /// \throws ConfigError if the options of a term are invalid
    void check() const { detail::check_terms(terms_); }
    /// The name of the term; of several, their names joined by +.
    std::string name() const {
        std::string result;
        detail::each_term(terms_, [&](const auto& each) {
            result.append(result.empty() ? "" : "+").append(detail::term_name(each));
        });
        return result;
    }
    /// The learnable parts of the term; of several, as children `term0`, `term1`, ... of one module.
    std::shared_ptr<torch::nn::Module> module() const
        requires(detail::HasModule<Terms> || ...)
    {
        if constexpr (sizeof...(Terms) == 1) {
            return detail::term_module(term());
        } else {
            return detail::terms_module("Terms", terms_);
        }
    }
    bool prepared() const
        requires(detail::HasPrepared<Terms> || ...)
    {
        return detail::terms_prepared(terms_);
    }
    template <class Student, class Teacher, class B>
        requires(detail::HasPrepared<Terms> || ...)
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        detail::prepare_terms(terms_, student, teacher, batch);
    }
    template <class Student>
        requires(detail::reads_parameters<Terms> || ...)
    void bind(const NetworkRef<Student>& student) {
        detail::bind_terms(terms_, student);
    }
    void give_samples()
        requires(PerSampleTerm<Terms> && ...)
    {
        detail::each_term(terms_, [](auto& each) { detail::ask_for_samples(each); });
    }
    /// Stores or sets the state of the terms.
    void checkpoint(Archive& archive) { detail::archive_terms(archive, terms_); }

  protected:
    /// The loss of the term.
    template <class Student, class Teacher, class B>
    at::Tensor call(const Student& student, const Teacher& teacher, const B& batch,
                    const Progress& progress) const {
        return detail::call_term(term(), student, teacher, batch, progress);
    }
    template <class Student, class Teacher, class B>
    void prepare_term(const Student& student, const Teacher* teacher, const B& batch) {
        detail::prepare_term(std::get<0>(terms_), student, teacher, batch);
    }

  private:
    std::tuple<Terms...> terms_{};
};

}  // namespace retort
