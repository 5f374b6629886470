// SPDX-License-Identifier: BSL-1.0
/// \file
/// The edges of a transfer graph: who teaches whom, with which term, gate and weight.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/cohort/gate/concept.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/graph_description.hpp>
#include <retort/core/error.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/core/progress.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/schedule/constant.hpp>

namespace retort {

/// The source of the edges that `label` creates.
struct Labels {};

/// A learner by its position in the cohort, known at compile time.
template <std::size_t I>
using LearnerIndex = std::integral_constant<std::size_t, I>;

namespace detail {

template <class T>
struct IsLearnerIndex : std::false_type {};
template <std::size_t I>
struct IsLearnerIndex<std::integral_constant<std::size_t, I>> : std::true_type {};
/// A position, known at compile time or at run time.
template <class T>
concept Position = std::same_as<T, std::size_t> || IsLearnerIndex<T>::value;

}  // namespace detail

/// An edge: the source teaches the receiver. Created by `retort::edge` and `retort::label`.
///
/// The loss of the edge is weight x G(term), with the weight of the schedule and the gate G. A per-sample gate gets
/// the term's loss of each sample (`Reduction::none`), and the edge's loss is the mean of its results; other gates
/// keep the term's own reduction.
/// \tparam Source `Labels`, `LearnerIndex<I>`, or `std::size_t` for a position known only at run time
/// \tparam Receiver `LearnerIndex<I>`, or `std::size_t`
template <class Source, detail::Position Receiver, class Term, class GatePolicy, class S>
class Edge {
    static_assert(
        SaysWhatItNeeds<Term>,
        "retort: the term of an edge must declare what it needs: static constexpr bool needs_teacher, "
        "needs_target (the weight of an edge is a separate argument, not a factor of the term)");
    static_assert(detail::forwards_term<Term>(),
                  "retort: the term in the member `term` has learnable parts, but the term that wraps it "
                  "does not forward "
                  "module, prepared and prepare: derive it from retort::TermAdaptor");
    static_assert(!detail::trains_teacher<Term>,
                  "retort: a ForTeacher term is on an edge, whose source is a constant: a learner learns "
                  "through its own incoming edges");
    static_assert(
        !detail::reads_parameters<Term>,
        "retort: a term that reads the student's parameters stands on an edge, which only has outputs: it "
        "belongs in the Knowledge of a Trainer");
    static_assert(Gate<GatePolicy>,
                  "retort: not a gate: expected a static constexpr bool per_sample and, if it is "
                  "false, double weight(std::int64_t iteration, const retort::Progress&) const; see "
                  "retort/cohort/gate/concept.hpp");
    static_assert(!detail::HasModule<GatePolicy>,
                  "retort: a gate with learnable parts (a member module): nothing would train them");
    static_assert(WeightSchedule<S>,
                  "retort: the weight of an edge is a number or has a member double weight(const "
                  "retort::Progress&) const");

  public:
    static constexpr bool from_labels = std::same_as<Source, Labels>;
    static constexpr bool per_sample = GatePolicy::per_sample;
    static_assert(!from_labels || !Term::needs_teacher,
                  "retort: a term that needs a teacher is on an edge from the labels: use "
                  "retort::edge<from, to>(term)");
    static_assert(from_labels || Term::needs_teacher,
                  "retort: a term that needs no teacher is on an edge between learners: use "
                  "retort::label<to>(term)");
    static_assert(!per_sample || PerSampleTerm<Term>,
                  "retort: the gate is per-sample, but the term has no losses per sample (no member "
                  "`reduction`)");

    /// \throws ConfigError if options of the term, gate or schedule are invalid
    Edge(Source source, Receiver receiver, Term term, GatePolicy gate, S schedule)
        : source_(source),
          receiver_(receiver),
          term_(std::move(term)),
          gate_(std::move(gate)),
          schedule_(std::move(schedule)) {
        detail::check_policy(term_);
        detail::check_policy(gate_);
        detail::check_policy(schedule_);
        if constexpr (per_sample) detail::ask_for_samples(term_);
    }

    Source source() const { return source_; }
    Receiver receiver() const { return receiver_; }
    const Term& term() const { return term_; }
    const GatePolicy& gate() const { return gate_; }

    /// The weight of the edge in a step; 0: it is not computed.
    /// \param iteration which step of the edge this is, from 1
    double weight(std::int64_t iteration, const Progress& progress) const {
        return schedule_.weight(progress) * detail::gate_weight(gate_, iteration, progress);
    }

    /// The loss after the gate, before the weight: a tensor without dimensions.
    /// \param from the source's outputs as constants; `NoOutputs` on an edge from the labels
    /// \throws ShapeError if the term or the gate returns another shape
    template <class ReceiverOutputs, class SourceOutputs, class B>
    at::Tensor loss(const ReceiverOutputs& to, const SourceOutputs& from, const B& batch,
                    const Progress& progress) const {
        static_assert(!Term::needs_target || LabeledBatch<B>,
                      "retort: the term of an edge needs targets, but the batches have none");
        static_assert(
            ComputesLoss<Term, ReceiverOutputs, SourceOutputs, B>,
            "retort: the term of an edge cannot be called as term(receiver_outputs, source_outputs, "
            "batch) const, or does not return an at::Tensor");
        const at::Tensor value = detail::call_term(term_, to, from, batch, progress);
        if constexpr (per_sample) {
            static_assert(SampleGate<GatePolicy, ReceiverOutputs, SourceOutputs, B>,
                          "retort: a per-sample gate must be callable as gate(losses, "
                          "receiver_outputs, source_outputs, batch) const and return a tensor");
            check(value, 1, "losses of shape [batch] before the gate");
            const at::Tensor passed = gate_(value, to, from, batch);
            if (!passed.defined() || passed.sizes() != value.sizes()) {
                throw ShapeError(detail::concat(name(), ": expected losses of shape ",
                                                detail::shape_text(value), " after the gate, found ",
                                                detail::shape_text(passed)));
            }
            return passed.mean();
        } else {
            check(value, 0, "a loss without dimensions");
            return value;
        }
    }

    // The learnable parts of the term: see knowledge/concept.hpp.
    bool prepared() const { return detail::term_prepared(term_); }
    template <class ReceiverOutputs, class SourceOutputs, class B>
    void prepare(const ReceiverOutputs& to, const SourceOutputs& from, const B& batch) {
        detail::prepare_term(term_, to, &from, batch);
    }
    std::shared_ptr<torch::nn::Module> module() const { return detail::term_module(term_); }

    /// Stores or sets the learnable parts of the term, and the state of term, gate and schedule.
    /// \pre prepared()
    void checkpoint(Archive& archive) {
        if (const auto part = module()) detail::archive_module(archive, *part);
        detail::archive_policy(archive, "term", term_);
        detail::archive_policy(archive, "gate", gate_);
        detail::archive_policy(archive, "schedule", schedule_);
    }

    /// Its name in histories and errors: `soft_target_1_to_0`, `cross_entropy_to_0`.
    std::string name() const {
        if constexpr (from_labels) {
            return detail::concat(detail::term_name(term_), "_to_", std::size_t{receiver_});
        } else {
            return detail::concat(detail::term_name(term_), '_', std::size_t{source_}, "_to_",
                                  std::size_t{receiver_});
        }
    }
    EdgeDescription description() const {
        EdgeDescription result{.to = receiver_,
                               .term = detail::term_name(term_),
                               .gate = detail::gate_name(gate_),
                               .gate_options = detail::gate_options(gate_)};
        if constexpr (!from_labels) result.from = source_;
        if constexpr (std::same_as<S, Constant>) {
            result.weight = schedule_.value;
        } else {
            result.weight.reset();
        }
        return result;
    }

  private:
    void check(const at::Tensor& value, std::int64_t dimensions, const char* expected) const {
        if (!value.defined() || value.dim() != dimensions) {
            throw ShapeError(
                detail::concat(name(), ": expected ", expected, ", found ", detail::shape_text(value)));
        }
    }

    [[no_unique_address]] Source source_;
    [[no_unique_address]] Receiver receiver_;
    Term term_;
    GatePolicy gate_;
    S schedule_;
};

/// An edge from the labels to a learner whose position is known at compile time: `label<0>()`.
/// \param weight a number or a schedule
template <std::size_t To, class Term = CrossEntropy, class G = gate::Through, class W = double>
auto label(Term term = {}, G gate = {}, const W& weight = 1.0) {
    using S = detail::as_schedule<W>;
    return Edge<Labels, LearnerIndex<To>, Term, G, S>({}, {}, std::move(term), std::move(gate),
                                                      detail::to_schedule(weight));
}
/// The same for a position known only at run time: `label(to)`.
template <class Term = CrossEntropy, class G = gate::Through, class W = double>
auto label(std::size_t to, Term term = {}, G gate = {}, const W& weight = 1.0) {
    using S = detail::as_schedule<W>;
    return Edge<Labels, std::size_t, Term, G, S>({}, to, std::move(term), std::move(gate),
                                                 detail::to_schedule(weight));
}

/// An edge between learners whose positions are known at compile time: with `edge<1, 0>(SoftTarget{})` learner 1
/// teaches learner 0, with `edge<0, 0>(...)` a learner teaches itself.
/// \param weight a number or a schedule
template <std::size_t From, std::size_t To, class Term, class G = gate::Through, class W = double>
auto edge(Term term, G gate = {}, const W& weight = 1.0) {
    using S = detail::as_schedule<W>;
    return Edge<LearnerIndex<From>, LearnerIndex<To>, Term, G, S>({}, {}, std::move(term), std::move(gate),
                                                                  detail::to_schedule(weight));
}
/// The same for positions known at run time: `edge(from, to, term)`.
template <class Term, class G = gate::Through, class W = double>
auto edge(std::size_t from, std::size_t to, Term term, G gate = {}, const W& weight = 1.0) {
    using S = detail::as_schedule<W>;
    return Edge<std::size_t, std::size_t, Term, G, S>(from, to, std::move(term), std::move(gate),
                                                      detail::to_schedule(weight));
}

}  // namespace retort
