// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term between two layers of one network: self-distillation.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/tap/tap.hpp>

namespace retort {

/// A term whose teacher is the student itself: the tensor of one tap teaches that of another.
///
///     retort::Within{retort::CrossEntropy{}, retort::tap<&Outputs::exits, 0>}          // an exit and the labels
///     retort::Within{retort::SoftTarget{}, retort::tap<&Outputs::exits, 0>, retort::tap<&Outputs::logits>}
///
/// It needs no teacher, so that it can be used in the `Knowledge` of a trainer without one, and on the edges from the
/// labels of a transfer graph. The term gets the tensors of the taps as outputs: a term on logits takes them as logits;
/// for one with taps of its own, use `retort::itself`.
/// Gradient: as the term's. Most terms take their teacher as a constant, so that the deeper exit does not learn
/// from the shallower one.
template <SaysWhatItNeeds Term, class To, class From = To>
class Within : public TermAdaptor<Term> {
    static_assert(
        !detail::trains_teacher<Term>,
        "retort: a term Within one network has no other teacher to train: ForTeacher must wrap Within");

  public:
    static constexpr bool needs_teacher = false;

    /// The tap `to`, and the labels.
    Within(Term term, To to)
        requires(!Term::needs_teacher)
        : TermAdaptor<Term>(std::move(term)), to_(to), from_(std::move(to)) {}
    /// The tap `to`, taught by the tap `from`.
    Within(Term term, To to, From from)
        requires(bool(Term::needs_teacher))
        : TermAdaptor<Term>(std::move(term)), to_(std::move(to)), from_(std::move(from)) {}

    template <class Outputs, class Teacher, class B>
    at::Tensor operator()(const Outputs& outputs, const Teacher&, const B& batch,
                          const Progress& progress) const {
        static_assert(TapOf<To, Outputs> && TapOf<From, Outputs>,
                      "retort: a tap of Within does not read a tensor from the outputs of the network");
        const at::Tensor to = to_(outputs);
        if constexpr (Term::needs_teacher) {
            const at::Tensor from = from_(outputs);
            return this->call(to, from, batch, progress);
        } else {
            return this->call(to, NoOutputs{}, batch, progress);
        }
    }
    std::string name() const {
        std::string result = detail::concat(TermAdaptor<Term>::name(), '(', detail::tap_name(to_));
        if constexpr (Term::needs_teacher) result += detail::concat(',', detail::tap_name(from_));
        return result + ')';
    }
    template <class Outputs, class Teacher, class B>
        requires detail::HasPrepared<Term>
    void prepare(const Outputs& outputs, const Teacher*, const B& batch) {
        const at::Tensor to = to_(outputs);
        if constexpr (Term::needs_teacher) {
            const at::Tensor from = from_(outputs);
            this->prepare_term(to, &from, batch);
        } else {
            this->prepare_term(to, static_cast<const NoOutputs*>(nullptr), batch);
        }
    }

  private:
    To to_;
    From from_;
};

template <class Term, class To>
Within(Term, To) -> Within<Term, To>;
template <class Term, class To, class From>
Within(Term, To, From) -> Within<Term, To, From>;

/// The tap of outputs that are one tensor.
inline constexpr auto itself = [](const at::Tensor& outputs) -> const at::Tensor& { return outputs; };

}  // namespace retort
