// SPDX-License-Identifier: BSL-1.0
/// \file
/// A cohort's training along a transfer graph.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/cohort/cohort_options.hpp>
#include <retort/cohort/cohort_result.hpp>
#include <retort/cohort/edge.hpp>
#include <retort/cohort/graph_description.hpp>
#include <retort/cohort/learner.hpp>
#include <retort/cohort/learners.hpp>
#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/core/explained.hpp>
#include <retort/core/network.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/detail/detached.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/trainer/losses.hpp>
#include <retort/trainer/precision.hpp>
#include <retort/trainer/run_base.hpp>

namespace retort {

/// A cohort's training along a transfer graph: `cohort.along(graph)`.
///
///     auto run = cohort.along(graph);
///     run.fit(train_batches, {.epochs = 200}, retort::Validation{validation_batches}, retort::Checkpoint{"run/"});
///
/// A run is one training, like a `Trainer`: it has its own progress, history, optimizers (built in the first step from
/// the learners' recipes) and step counts of the edges, all of which `save` and `resume` include. It keeps copies of
/// the learners and the graph, which share networks and learnable parts with the originals; these may be destroyed
/// before it. Another run of the cohort, along this or another graph, trains the same networks with new optimizers; to
/// share an optimizer between runs, give the learner an existing one.
///
/// A step is simultaneous: all forward passes, one per learner however many edges it has; then all losses, with
/// peers as constants; then all backward passes; then the steps of all optimizers. The order of the learners does
/// not matter: results are bit-identical if the graph lists its edges in the same order and no learner draws random
/// numbers. A learner without an active incoming edge in a step is frozen in that step: see `FrozenMode`. It runs
/// without gradients, and not at all if no learner learns from it.
///
/// The history has one row per epoch: `epoch`; for each learner i `learning_rate_i`, `loss_i`, the losses of its
/// incoming edges by name (`cross_entropy_to_0`, `soft_target_1_to_0`; means over the predictions that count, after the gate and
/// before the weight) and their weights with the prefix `weight_`, `accuracy_i`; `samples`, `seconds`,
/// `samples_per_second`; then what the callbacks add (`Validation`: `validation_accuracy_i`). Callbacks see all
/// learners as one module with children `learner0`, `learner1`, ...; the running means are those over the learners
/// that learn.
///
/// `losses`, `step`, `fit`, `save` and `resume` are those of every run (trainer/run_base.hpp).
template <class Learners, class Graph, Precision PrecisionPolicy = Float32>
class CohortRun : public detail::RunBase<CohortRun<Learners, Graph, PrecisionPolicy>, PrecisionPolicy> {
    using Base = detail::RunBase<CohortRun, PrecisionPolicy>;

  public:
    /// See `Cohort::along`.
    CohortRun(Learners learners, std::shared_ptr<torch::nn::Module> module, FrozenMode frozen,
              const PrecisionPolicy& precision, Graph graph)
        : Base(std::move(module), run_learners_of(learners), precision),
          learners_(std::move(learners)),
          graph_(std::move(graph)),
          frozen_(frozen),
          iterations_(graph_.size(), 0) {
        graph_.each([&](std::size_t, const auto& edge) {
            check_position(edge, "ends at", edge.receiver());
            if_source(edge, [&](auto source) { check_position(edge, "starts at", source); });
        });
    }

    /// Evaluates a learner: see `retort::evaluate`.
    /// \throws ConfigError if there is no such learner
    template <class Source, class... Metrics>
    auto evaluate(std::size_t learner, Source&& source, const Metrics&... metrics) const {
        return detail::evaluate_learner(learners_, learner, source, metrics...);
    }
    std::size_t size() const { return detail::count_of(learners_); }
    /// A `std::tuple` or `std::vector` of `Learner`.
    const Learners& learners() const { return learners_; }
    const Graph& graph() const { return graph_; }
    /// How many steps each edge has made: the iterations that its gate sees.
    const std::vector<std::int64_t>& iterations() const { return iterations_; }
    /// \throws ConfigError if there is not one number of at least 0 for each edge
    void set_iterations(std::vector<std::int64_t> iterations) {
        if (!are_iterations(iterations)) {
            throw ConfigError(
                detail::concat("graph: expected a number of steps of at least 0 for each of the ",
                               iterations_.size(), " edges, found ", iterations.size(), " numbers"));
        }
        iterations_ = std::move(iterations);
    }

    // What `detail::RunBase` requires.
    template <class B>
    auto losses_of(const B& batch) {
        return losses_of(batch, /*only_sizes=*/false);
    }
    template <class B>
    void size_parts(const B& batch) {
        losses_of(batch, /*only_sizes=*/true);
    }
    /// The names of the incoming edges of each learner; repeated names are numbered from the second on.
    std::vector<std::vector<std::string>> term_names() const {
        std::vector<std::vector<std::string>> result(size());
        graph_.each([&](std::size_t, const auto& edge) {
            std::vector<std::string>& names = result[edge.receiver()];
            const std::string plain = edge.name();
            std::string name = plain;
            for (int number = 2; std::find(names.begin(), names.end(), name) != names.end(); ++number)
                name = detail::concat(plain, '_', number);
            names.push_back(std::move(name));
        });
        return result;
    }
    std::vector<std::shared_ptr<torch::nn::Module>> learnable_modules() const {
        std::vector<std::shared_ptr<torch::nn::Module>> result;
        graph_.each([&](std::size_t, const auto& edge) {
            if (auto part = edge.module()) result.push_back(std::move(part));
        });
        return result;
    }
    bool sized() const {
        bool result = true;
        graph_.each([&](std::size_t, const auto& edge) { result = result && edge.prepared(); });
        return result;
    }
    /// For the learners that the graph reaches, with the learnable parts of their edges.
    void build_optimizers() {
        place_parts();
        std::vector<std::vector<NamedParameter>> parts(size());
        std::vector<bool> reached(size(), false);
        std::unordered_map<const void*, std::size_t> owner;
        graph_.each([&](std::size_t, const auto& edge) {
            const std::size_t to = edge.receiver();
            reached[to] = true;
            const auto part = edge.module();
            if (part == nullptr) return;
            for (const NamedParameter& parameter : detail::trainable_named_parameters(*part, "knowledge.")) {
                const auto [found, fresh] = owner.try_emplace(parameter.tensor.unsafeGetTensorImpl(), to);
                if (fresh) parts[to].push_back(parameter);
                if (found->second != to) {
                    throw ConfigError(
                        detail::concat("graph: expected separate learnable parts for each learner, found "
                                       "one on edges to learners ",
                                       found->second, " and ", to,
                                       " (copies of a term share it); make a new term for each edge"));
                }
            }
        });
        for (std::size_t i = 0; i < size(); ++i) {
            if (reached[i] && this->run_learners()[i].optimizer) this->build_optimizer(i, parts[i]);
        }
    }
    void archive(Archive& archive) {
        std::string edges;
        graph_.each([&](std::size_t, const auto& edge) {
            const EdgeDescription words = edge.description();
            edges.append(edges.empty() ? "" : ", ")
                .append(words.from ? std::to_string(*words.from) : std::string("labels"))
                .append(detail::concat(" to ", words.to, " by ", words.term, " through ", words.gate));
        });
        archive.in("graph", [&] { archive.expect("edges", edges); });
        archive.in("precision",
                   [&] { archive.expect("type", std::string(detail::type_name<PrecisionPolicy>())); });
        detail::each_of(learners_, [&](std::size_t i, const auto& learner) {
            archive.in(detail::concat("learner", i),
                       [&] { detail::archive_module(archive, learner.module()); });
        });
    }
    void archive_parts(Archive& archive) {
        graph_.each([&](std::size_t i, auto& edge) {
            archive.in(detail::concat("edge", i), [&] { edge.checkpoint(archive); });
        });
        std::vector<std::int64_t> iterations = iterations_;
        archive("iterations", iterations);
        if (!archive.loading()) return;
        if (!are_iterations(iterations)) {
            throw CheckpointError(detail::concat(archive.where(), ": iterations: expected ",
                                                 iterations_.size(), " numbers of at least 0, found others"));
        }
        iterations_ = std::move(iterations);
    }
    void finish_update() {
        for (std::int64_t& each : iterations_) ++each;
    }

  private:
    static std::vector<detail::RunLearner> run_learners_of(const Learners& learners) {
        std::vector<detail::RunLearner> result;
        detail::each_of(learners, [&](std::size_t i, const auto& learner) {
            result.push_back({detail::concat("learner ", i), detail::concat('_', i), &learner.module(),
                              learner.optimizer()});
        });
        return result;
    }
    template <class I, class N>
    static void check_forwards(const std::vector<Learner<N>>&) {
        static_assert(Forwards<N, I>,
                      "retort: the forward of a learner does not take the input of the batch");
    }
    template <class I, class... N>
    static void check_forwards(const std::tuple<Learner<N>...>&) {
        static_assert((Forwards<N, I> && ...),
                      "retort: the forward of a learner does not take the input of the batch");
    }

    template <class E, class P>
    void check_position(const E& edge, const char* what, P position) const {
        constexpr std::size_t count = detail::fixed_count<Learners>;
        if constexpr (detail::IsLearnerIndex<P>::value && count > 0) {
            static_assert(
                P::value < count,
                "retort: an edge starts or ends at a learner that does not exist: learners are counted "
                "from 0");
        } else if (position >= size()) {
            throw ConfigError(detail::concat("graph: expected positions below ", size(),
                                             ", the number of learners; ", edge.name(), " ", what,
                                             " learner ", std::size_t{position}));
        }
    }

    template <class E, class F>
    static void if_source(const E& edge, F&& function) {
        if constexpr (requires { edge.labeled(); }) {
            if (!edge.labeled()) function(edge.source());
        } else if constexpr (!E::from_labels) {
            function(edge.source());
        }
    }
    /// Calls `function(receiver's outputs, source's outputs)`; a runtime edge takes a pointer.
    template <class E, class Slots, class F>
    static void with_outputs(const E& edge, const Slots& outputs, const Slots& peers, F&& function) {
        const auto& to = *detail::slot(outputs, edge.receiver());
        if constexpr (requires { edge.labeled(); }) {
            using O = std::remove_cvref_t<decltype(to)>;
            const O* const from = edge.labeled() ? nullptr : &*detail::slot(peers, edge.source());
            function(to, from);
        } else if constexpr (E::from_labels) {
            function(to, NoOutputs{});
        } else {
            function(to, *detail::slot(peers, edge.source()));
        }
    }

    /// What a step computes.
    struct Plan {
        std::vector<double> weights;  // of the edges
        // Of the learners: has an active incoming edge; must run; has an active outgoing edge.
        std::vector<char> learns, needed, teaches;
    };
    /// \param only_sizes the networks run only for the sizes of learnable parts; gates and schedules may not have their
    /// state
    Plan plan(bool only_sizes) const {
        const Progress& progress = this->progress();
        const std::vector<char> none(size(), false);
        Plan plan{std::vector<double>(graph_.size(), 0.0), none, none, none};
        bool any = false;
        graph_.each([&](std::size_t i, const auto& edge) {
            if (!only_sizes) {
                plan.weights[i] = edge.weight(iterations_[i] + 1, progress);
                detail::check_finite_weight("graph", edge.name(), plan.weights[i], progress);
            }
            const bool counts = plan.weights[i] != 0;
            if (!counts && (this->built() || edge.prepared())) return;
            any = any || counts;
            if (counts) plan.learns[edge.receiver()] = true;
            plan.needed[edge.receiver()] = true;
            if_source(edge, [&](auto source) { plan.needed[source] = plan.teaches[source] = true; });
        });
        if (!any && !only_sizes) {
            throw ConfigError(detail::concat("graph: no learner has an active incoming edge in epoch ",
                                             progress.epoch, ", step ", progress.step));
        }
        return plan;
    }
    template <class B>
    auto losses_of(const B& batch, bool only_sizes) {
        const auto& value = detail::input_of(batch, this->progress());
        using I = std::remove_cvref_t<decltype(value)>;
        check_forwards<I>(learners_);
        const Plan step = plan(only_sizes);
        if (!this->built()) place_parts();

        // All forwards ...
        using Slots = detail::SlotsOf<Learners, I>;
        const at::DeviceType device = value.device().type();
        auto outputs = Slots::make(size());
        auto peers = Slots::make(size());
        detail::each_of(learners_, [&](auto i, const auto& learner) {
            if (!step.needed[i]) return;
            auto& own = detail::slot(outputs, i);
            own.emplace(detail::explained(
                this->progress(),
                [&] {
                    return detail::in_precision<PrecisionPolicy>(device, [&] {
                        return step.learns[i] ? learner.network()->forward(value)
                                              : frozen_forward(learner, value);
                    });
                },
                [&] {
                    return detail::concat("learner ", std::size_t{i}, "; input: ", detail::input_text(value));
                }));
            if (!step.teaches[i]) return;
            if (step.learns[i]) {
                detail::slot(peers, i).emplace(detail::as_constants(*own));
            } else {
                detail::slot(peers, i).emplace(*own);
            }
        });
        if (!this->built()) {
            graph_.each([&](std::size_t, auto& edge) {
                if (!edge.prepared())
                    with_outputs(edge, outputs, peers,
                                 [&](const auto& to, const auto& from) { edge.prepare(to, from, batch); });
            });
        }
        // ... then all losses.
        std::vector<Losses> losses(size());
        graph_.each([&](std::size_t i, const auto& edge) {
            losses[edge.receiver()].add(step.weights[i], [&] {
                at::Tensor term;
                with_outputs(edge, outputs, peers, [&](const auto& to, const auto& from) {
                    term = detail::explained(
                        this->progress(), [&] { return edge.loss(to, from, batch, this->progress()); },
                        [&] {
                            return edge.name() +
                                   detail::term_text(to, static_cast<const NoOutputs*>(nullptr), batch);
                        });
                });
                return term;
            });
        });
        return CohortResult<decltype(outputs)>{std::move(losses), std::move(outputs)};
    }
    template <class L, class I>
    auto frozen_forward(const L& learner, const I& value) const {
        const at::NoGradGuard no_grad;
        if (frozen_ == FrozenMode::train) return learner.network()->forward(value);
        const EvalMode eval(learner.module());
        return learner.network()->forward(value);
    }
    /// Moves learnable parts to the learners' device.
    void place_parts() {
        for (const auto& part : learnable_modules()) part->to(this->device());
    }

    bool are_iterations(const std::vector<std::int64_t>& numbers) const {
        return numbers.size() == iterations_.size() &&
               std::all_of(numbers.begin(), numbers.end(), [](std::int64_t each) { return each >= 0; });
    }

    Learners learners_;
    Graph graph_;
    FrozenMode frozen_;
    std::vector<std::int64_t> iterations_;
};

}  // namespace retort
