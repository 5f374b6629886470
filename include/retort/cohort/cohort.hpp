// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cohort: learners that teach each other along a transfer graph.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/checkpoint/run_state.hpp>
#include <retort/cohort/learner.hpp>
#include <retort/cohort/learners.hpp>
#include <retort/cohort/runtime_graph.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/device.hpp>
#include <retort/core/network.hpp>
#include <retort/core/right_answers.hpp>
#include <retort/detail/detached.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/metrics/evaluate.hpp>
#include <retort/trainer/epoch_record.hpp>
#include <retort/trainer/fit_loop.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/gradient_scaler.hpp>
#include <retort/trainer/objective.hpp>
#include <retort/trainer/precision.hpp>

namespace retort {

/// How a learner that does not learn in a step (no incoming edge counts) makes its outputs. Never with a graph.
enum class FrozenMode {
    evaluate,  ///< in evaluation mode; parameters, buffers and training flags stay as they are
    train,     ///< in training mode, as the released code of the knowledge transfer graph has it: batch norm
               ///< uses the statistics of the batch, and its running statistics move on
};

/// Options of a `Cohort`.
struct CohortOptions {
    /// `cpu`, `cuda`, `cuda:N` or `auto`: the learners are moved there. Empty: all are expected on one device.
    std::string device{};
    FrozenMode frozen = FrozenMode::evaluate;
};

/// What one step computed.
template <class Slots>
struct CohortResult {
    std::vector<Losses>
        losses;     ///< of each learner, its terms being its incoming edges in the graph's order;
                    ///< `total` is undefined where it did not learn
    Slots outputs;  ///< of each learner: `std::optional`, empty where its forward has not run; a
                    ///< `std::array` (or vector) where all return one type, else a `std::tuple`
};

template <class Learners, Precision PrecisionPolicy = Float32>
class Cohort;

namespace detail {

/// The numbers of an epoch, of all learners.
class CohortRecord {
  public:
    explicit CohortRecord(std::vector<EpochRecord> learners) : learners_(std::move(learners)) {}

    EpochRecord& of(std::size_t learner) { return learners_[learner]; }
    void skip(bool seen) {
        for (EpochRecord& each : learners_) each.skip(seen);
    }
    void add_seconds(double seconds) {
        for (EpochRecord& each : learners_) each.add_seconds(seconds);
    }
    /// Means over the learners that learn.
    Running read() {
        Running result;
        double loss = 0;
        double accuracy = 0;
        double learning = 0;
        most_ = 0;
        for (std::size_t i = 0; i < learners_.size(); ++i) {
            const Running each = learners_[i].read();
            result.seconds = each.seconds;
            if (each.samples == 0) continue;
            if (each.samples > result.samples) most_ = i;
            result.samples = std::max(result.samples, each.samples);
            loss += each.loss;
            accuracy += each.accuracy;
            ++learning;
        }
        if (learning > 0) {
            result.loss = loss / learning;
            result.accuracy = accuracy / learning;
        }
        return result;
    }
    void checkpoint(Archive& archive) {
        for (std::size_t i = 0; i < learners_.size(); ++i)
            archive.in(concat(i), [&] { learners_[i].checkpoint(archive); });
        archive("most", most_);
        if (most_ >= learners_.size()) throw CheckpointError(concat(archive.where(), ": no learner ", most_));
    }
    void write(History& history) const {
        for (std::size_t i = 0; i < learners_.size(); ++i) learners_[i].write_means(history, concat('_', i));
        learners_[most_].write_counts(history);
    }

  private:
    std::vector<EpochRecord> learners_;
    std::size_t most_ = 0;  // who has seen the most samples
};

/// A cohort with a graph: makes the steps, and is what the loop of `fit` runs.
template <class Learners, class PrecisionPolicy, class Graph>
class CohortRun {
    using Subject = Cohort<Learners, PrecisionPolicy>;

  public:
    CohortRun(Subject& cohort, Graph& graph)
        : progress_(cohort.progress_),
          history_(cohort.history_),
          run_(cohort.run_),
          cohort_(cohort),
          graph_(graph) {
        graph_.each([&](std::size_t, const auto& edge) {
            check_position(edge, "ends at", edge.receiver());
            if constexpr (requires { edge.labeled(); }) {
                if (!edge.labeled()) check_position(edge, "begins at", edge.source());
            } else if constexpr (!std::remove_cvref_t<decltype(edge)>::from_labels) {
                check_position(edge, "begins at", edge.source());
            }
        });
    }

    Progress& progress_;
    History& history_;
    RunState<CohortRecord>& run_;

    template <class B>
    auto forward(const B& batch) {
        complete(batch);
        return losses_of(batch);
    }
    template <class B>
    void complete(const B& batch) {
        if (run_.incomplete()) run_.complete(*this, [&] { losses_of(batch, /*only_sizes=*/true); });
    }
    /// \param only_sizes runs the networks for the sizes of learnable parts: no term, gate or schedule, which do not
    /// have their state yet
    template <class B>
    auto losses_of(const B& batch, bool only_sizes = false) {
        const auto& value = input_of(batch, progress_);
        using I = std::remove_cvref_t<decltype(value)>;
        check_forwards<I>(cohort_.learners_);
        using Slots = SlotsOf<Learners, I>;
        const std::size_t count = cohort_.size();
        const bool first = graph_.cohort_ != cohort_.id_;

        weights_.assign(graph_.size(), 0.0);
        learns_.assign(count, false);
        needed_.assign(count, false);
        teaches_.assign(count, false);
        bool any = false;
        graph_.each([&](std::size_t i, const auto& edge) {
            const double weight = only_sizes ? 0.0 : edge.weight(graph_.iterations_[i] + 1, progress_);
            if (!std::isfinite(weight)) {
                throw ConfigError(concat("graph: expected a finite weight for ", edge.name(), " in epoch ",
                                         progress_.epoch, ", step ", progress_.step, ", found ", weight));
            }
            weights_[i] = weight;
            if (weight == 0 && (!first || edge.prepared())) return;
            any = any || weight != 0;
            if (weight != 0) learns_[edge.receiver()] = true;
            needed_[edge.receiver()] = true;
            if_source(edge, [&](auto source) { needed_[source] = teaches_[source] = true; });
        });
        if (!any && !only_sizes) {
            throw ConfigError(concat("graph: expected an edge with a weight other than 0 in epoch ",
                                     progress_.epoch, ", step ", progress_.step,
                                     ", found none: nobody has anything to learn"));
        }
        if (first) place_parts();

        // All forwards ...
        const at::DeviceType device = value.device().type();
        auto outputs = Slots::make(count);
        auto peers = Slots::make(count);
        each_of(cohort_.learners_, [&](auto i, const auto& learner) {
            if (!needed_[i]) return;
            auto& own = slot(outputs, i);
            if (learns_[i]) {
                own.emplace(
                    in_precision<PrecisionPolicy>(device, [&] { return learner.network()->forward(value); }));
                if (teaches_[i]) slot(peers, i).emplace(as_constants(*own));
            } else {
                own.emplace(
                    in_precision<PrecisionPolicy>(device, [&] { return frozen_forward(learner, value); }));
                if (teaches_[i]) slot(peers, i).emplace(*own);
            }
        });
        if (first) {
            graph_.each([&](std::size_t, auto& edge) {
                if (!edge.prepared())
                    with_outputs(edge, outputs, peers,
                                 [&](const auto& to, const auto& from) { edge.prepare(to, from, batch); });
            });
        }
        // ... then all losses.
        std::vector<Losses> losses(count);
        graph_.each([&](std::size_t i, const auto& edge) {
            Losses& mine = losses[edge.receiver()];
            mine.weights.push_back(weights_[i]);
            at::Tensor& term = mine.terms.emplace_back();
            if (weights_[i] == 0) return;
            with_outputs(edge, outputs, peers, [&](const auto& to, const auto& from) {
                term = edge.loss(to, from, batch, progress_);
            });
            const at::Tensor weighted = weights_[i] == 1 ? term : term * weights_[i];
            mine.total = mine.total.defined() ? mine.total + weighted : weighted;
        });
        return CohortResult<decltype(outputs)>{std::move(losses), std::move(outputs)};
    }

    /// All backward passes.
    template <class Slots>
    void backward(const CohortResult<Slots>& result, double share = 1, bool first = true) {
        if (graph_.cohort_ != cohort_.id_) adopt();
        each_learning([&](std::size_t i, auto& learner) {
            if (!result.losses[i].total.requires_grad()) {
                throw ConfigError(concat(
                    "learner ", i,
                    ": expected a loss that depends on what is trained, found a constant: do the terms "
                    "detach the learner's outputs, or is gradient mode off?"));
            }
            if (!first) return;
            learner.policy()->set_learning_rate(progress_);
            learner.policy()->optimizer().zero_grad();
        });
        if (first) clear_others();
        if constexpr (scales_losses<PrecisionPolicy>) share *= cohort_.scaler_->factor();
        each_learning([&](std::size_t i, auto&) {
            const at::Tensor& total = result.losses[i].total;
            (share == 1 ? total : total * share).backward();
            cohort_.has_gradients_[i] = true;
        });
    }
    bool finish_gradients(double factor) {
        if (factor == 1 && !cohort_.scaler_) return true;
        std::vector<at::Tensor> all;
        for (std::vector<at::Tensor>& each : learning_parameters())
            all.insert(all.end(), each.begin(), each.end());
        if (factor != 1) scale_gradients(all, factor);
        return !cohort_.scaler_ || cohort_.scaler_->unscale(all);
    }
    void skip() { ++progress_.step; }

    /// All steps.
    void update() {
        each_learning([](std::size_t, auto& learner) { learner.policy()->optimizer().step(); });
        for (std::int64_t& each : graph_.iterations_) ++each;
        ++progress_.step;
    }

    // What checkpoints ask for: see `RunState`.
    bool built() const { return graph_.cohort_ == cohort_.id_; }
    /// What is built belongs to a graph: a checkpoint along another one would leave it out.
    /// \throws ConfigError if there are optimizers, and none of their steps were along this graph
    void check_followed() const {
        if (built() || cohort_.parameters_.empty()) return;
        throw ConfigError(
            "Cohort::save: expected the graph of the last step (it knows what its edges have learned), found "
            "one along "
            "which this cohort has made no step");
    }
    bool sized() const {
        bool result = true;
        graph_.each([&](std::size_t, const auto& edge) { result = result && edge.prepared(); });
        return result;
    }
    void build() {
        if (learns_.empty()) learns_.assign(cohort_.size(), false);  // no step yet
        place_parts();
        adopt();
    }
    void archive(Archive& archive) {
        std::string edges;
        graph_.each([&](std::size_t, const auto& edge) {
            const EdgeDescription words = edge.description();
            edges.append(edges.empty() ? "" : ", ")
                .append(words.from ? std::to_string(*words.from) : std::string("labels"))
                .append(concat(" to ", words.to, " by ", words.term, " through ", words.gate));
        });
        archive.in("graph", [&] { archive.expect("edges", edges); });
        archive.in("precision", [&] { archive.expect("type", std::string(type_name<PrecisionPolicy>())); });
        each_of(cohort_.learners_, [&](std::size_t i, const auto& learner) {
            archive.in(concat("learner", i), [&] { archive_module(archive, learner.module()); });
        });
    }
    void archive_built(Archive& archive) {
        each_of(cohort_.learners_, [&](std::size_t i, auto& learner) {
            if (learner.optimizer() == nullptr) return;
            archive.in(concat("optimizer", i), [&] { learner.policy()->checkpoint(archive); });
        });
        graph_.each([&](std::size_t i, auto& edge) {
            archive.in(concat("edge", i), [&] { edge.checkpoint(archive); });
        });
        std::vector<std::int64_t> iterations = graph_.iterations();
        archive("iterations", iterations);
        if (archive.loading()) graph_.set_iterations(std::move(iterations));
        if (cohort_.scaler_) archive.in("scaler", [&] { cohort_.scaler_->checkpoint(archive); });
        archive_gradients(archive, cohort_.parameters_);
        if (archive.loading()) cohort_.has_gradients_.assign(cohort_.size(), true);
    }

    // What the loop of `fit` asks for beside these.
    FitContextOf<Subject> context() {
        FitContextOf<Subject> result{{progress_, history_, *cohort_.module_, cohort_.parameters_}, cohort_};
        result.learners = [this] { return learning_parameters(); };
        return result;
    }
    std::vector<std::string> columns() const {
        std::vector<std::string> result{"epoch"};
        const auto names = edge_names();
        for (std::size_t i = 0; i < names.size(); ++i) {
            result.push_back(concat("learning_rate_", i));
            result.push_back(concat("loss_", i));
            for (const std::string& name : names[i]) {
                result.push_back(name);
                result.push_back("weight_" + name);
            }
            result.push_back(concat("accuracy_", i));
        }
        result.insert(result.end(), {"samples", "seconds", "samples_per_second"});
        EpochRecord::check_columns(result);
        return result;
    }
    CohortRecord record() const {
        std::vector<EpochRecord> result;
        for (std::vector<std::string>& names : edge_names()) result.emplace_back(std::move(names), progress_);
        return CohortRecord(std::move(result));
    }
    void begin_fit() { cohort_.module_->train(); }
    at::Device device() const { return cohort_.device(); }
    std::vector<at::Tensor> buffers() const {
        std::vector<at::Tensor> result = cohort_.module_->buffers();
        graph_.each([&](std::size_t, const auto& edge) {
            if (const auto part = edge.module()) {
                for (const at::Tensor& buffer : part->buffers()) result.push_back(buffer);
            }
        });
        return result;
    }
    template <class Slots>
    static bool finite(const CohortResult<Slots>& result) {
        return std::all_of(result.losses.begin(), result.losses.end(), [](const Losses& each) {
            return !each.total.defined() || std::isfinite(each.total.template item<double>());
        });
    }
    template <class Slots, class B>
    void record_step(CohortRecord& record, const CohortResult<Slots>& result, const B& batch,
                     const FitOptions& options, bool first) const {
        each_of(cohort_.learners_, [&](auto i, const auto&) {
            if (!learns_[i]) return;
            at::Tensor right;
            if (options.train_accuracy) right = right_answers(*slot(result.outputs, i), batch);
            record.of(i).add(result.losses[i], right, sample_count(batch), first);
        });
    }
    void write(History& history) const {
        each_of(cohort_.learners_, [&](std::size_t i, const auto& learner) {
            if (learner.optimizer() != nullptr)
                history.set(concat("learning_rate_", i), learner.policy()->learning_rate());
        });
    }

  private:
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
        if constexpr (IsLearnerIndex<P>::value && Subject::fixed_size > 0) {
            static_assert(
                P::value < Subject::fixed_size,
                "retort: an edge begins or ends at a learner that is not there: learners are counted "
                "from 0");
        } else if (position >= cohort_.size()) {
            throw ConfigError(concat("graph: expected positions below ", cohort_.size(),
                                     ", the number of learners; ", edge.name(), " ", what, " learner ",
                                     std::size_t{position}));
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
    /// Calls `function(receiver's outputs, source's outputs)`; an edge known at run time takes a pointer.
    template <class E, class Slots, class F>
    static void with_outputs(const E& edge, const Slots& outputs, const Slots& peers, F&& function) {
        const auto& to = *slot(outputs, edge.receiver());
        if constexpr (requires { edge.labeled(); }) {
            using O = std::remove_cvref_t<decltype(to)>;
            const O* const from = edge.labeled() ? nullptr : &*slot(peers, edge.source());
            function(to, from);
        } else if constexpr (E::from_labels) {
            function(to, NoOutputs{});
        } else {
            function(to, *slot(peers, edge.source()));
        }
    }

    template <class L, class I>
    auto frozen_forward(const L& learner, const I& value) const {
        const at::NoGradGuard no_grad;
        if (cohort_.options_.frozen == FrozenMode::train) return learner.network()->forward(value);
        const EvalMode eval(learner.module());
        return learner.network()->forward(value);
    }

    template <class F>
    void each_learning(F&& function) {
        each_of(cohort_.learners_, [&](auto i, auto& learner) {
            if (learns_[i]) function(std::size_t{i}, learner);
        });
    }

    /// What the optimizers of those train who learn in this step.
    std::vector<std::vector<at::Tensor>> learning_parameters() {
        std::vector<std::vector<at::Tensor>> result;
        each_learning([&](std::size_t, auto& learner) {
            std::vector<at::Tensor>& mine = result.emplace_back();
            for (const auto& group : learner.policy()->optimizer().param_groups())
                mine.insert(mine.end(), group.params().begin(), group.params().end());
        });
        return result;
    }
    /// Who has learned before and does not now must not show callbacks the gradients of an earlier step.
    void clear_others() {
        std::vector<char>& has = cohort_.has_gradients_;
        has.resize(cohort_.size(), false);
        each_of(cohort_.learners_, [&](std::size_t i, auto& learner) {
            if (learns_[i] || !has[i]) return;
            if (learner.optimizer() != nullptr) learner.policy()->optimizer().zero_grad();
            has[i] = false;
        });
    }

    /// Learnable parts go where the learners are.
    void place_parts() {
        graph_.each([&](std::size_t, const auto& edge) {
            if (const auto part = edge.module()) part->to(cohort_.device());
        });
    }

    /// Builds the optimizers of the learners that the graph reaches, with the learnable parts of their edges.
    void adopt() {
        const std::size_t count = cohort_.size();
        std::vector<std::vector<NamedParameter>> parts(count);
        std::vector<bool> reached(count, false);
        std::unordered_map<const void*, std::size_t> owner;
        graph_.each([&](std::size_t, const auto& edge) {
            const std::size_t to = edge.receiver();
            reached[to] = true;
            const auto part = edge.module();
            if (part == nullptr) return;
            for (const NamedParameter& parameter : trainable_named_parameters(*part, "knowledge.")) {
                const auto [found, fresh] = owner.try_emplace(parameter.tensor.unsafeGetTensorImpl(), to);
                if (fresh) parts[to].push_back(parameter);
                if (found->second != to) {
                    throw ConfigError(
                        concat("graph: expected learnable parts of its own for each learner, found "
                               "one on edges to learners ",
                               found->second, " and ", to,
                               " (copies of a term share it); make a new term for each edge"));
                }
            }
        });
        each_of(cohort_.learners_, [&](std::size_t i, auto& learner) {
            if (!reached[i] || (learner.policy() == nullptr && !learns_[i])) return;
            if (learner.policy() == nullptr) {
                throw ConfigError(concat(
                    "learner ", i, ": expected an optimizer, as edges end there that count; found none"));
            }
            if (!learner.policy()->built()) {
                const auto own = trainable_named_parameters(learner.module());
                if (own.empty()) {
                    throw ConfigError(
                        concat("learner ", i,
                               ": expected parameters that require a gradient, found none: nothing "
                               "can be trained"));
                }
                learner.policy()->build(own, parts[i]);
                for (const NamedParameter& each : own) {  // the optimizer may have frozen some
                    if (each.tensor.requires_grad()) cohort_.parameters_.push_back(each.tensor);
                }
            } else {
                learner.policy()->add(parts[i]);
            }
            for (const auto& [name, part] : parts[i]) {
                if (!part.requires_grad()) continue;
                const at::Tensor& tensor =
                    part;  // a structured binding is no variable that a lambda could see
                const bool known = std::any_of(cohort_.parameters_.begin(), cohort_.parameters_.end(),
                                               [&](const at::Tensor& each) { return each.is_same(tensor); });
                if (!known) cohort_.parameters_.push_back(tensor);
            }
        });
        graph_.cohort_ = cohort_.id_;
    }

    /// The names of the incoming edges of each learner; edges of equal names are numbered from the second on.
    std::vector<std::vector<std::string>> edge_names() const {
        std::vector<std::vector<std::string>> result(cohort_.size());
        graph_.each([&](std::size_t, const auto& edge) {
            std::vector<std::string>& names = result[edge.receiver()];
            const std::string plain = edge.name();
            std::string name = plain;
            for (int number = 2; std::find(names.begin(), names.end(), name) != names.end(); ++number)
                name = concat(plain, '_', number);
            names.push_back(std::move(name));
        });
        return result;
    }

    Subject& cohort_;
    Graph& graph_;
    std::vector<double> weights_;  // of the edges, in this step
    // Of the learners, in this step: has an incoming edge that counts; must run; has an outgoing edge that
    // counts.
    std::vector<char> learns_;
    std::vector<char> needed_;
    std::vector<char> teaches_;
};

}  // namespace detail

/// Learners that teach each other along a transfer graph.
///
///     retort::Cohort cohort{retort::Learner{net_a, sgd}, retort::Learner{net_b, sgd}, retort::Learner{net_c, sgd}};
///     retort::TransferGraph graph{retort::label<0>(), retort::label<1>(), retort::label<2>(),
///                                 retort::edge<1, 0>(retort::SoftTarget{}, retort::gate::Correct{})};
///     cohort.fit(graph, train_batches, {.epochs = 200}, retort::Validation{validation_batches});
///
/// A step is simultaneous: all forwards, one for each learner whatever its edges; then all losses, against
/// peers that are constants; then all backward passes; then all optimizers' steps. The order of the learners
/// does not matter: to the bit, where the graph lists its edges in the same order and no learner draws random
/// numbers. A learner none of whose incoming edges counts in a step is frozen in it: see `FrozenMode`. It runs
/// without a graph, and not at all where nobody learns from it.
///
/// The learners may be of different types. Where their number is known at run time only, or a graph of the
/// kind `RuntimeGraph` is used, they return one type: `retort::Cohort{std::vector{...}}`.
///
/// All forwards run in one precision (`Cohort{Bfloat16{}, Learner{...}, ...}`): outputs and what peers see of them are
/// widened, and all losses compute in float32. Under `Float16` one scale serves all learners, and where the gradients
/// of one overflow the step is left out for all: a step is one, or the learners would count different ones.
/// \tparam Learners `std::tuple<Learner<N>...>` or `std::vector<Learner<N>>`
template <class Learners, Precision PrecisionPolicy>
class Cohort {
  public:
    /// How many learners there are, where the compiler knows; else 0.
    static constexpr std::size_t fixed_size = [] {
        if constexpr (requires { std::tuple_size<Learners>::value; }) {
            return std::tuple_size_v<Learners>;
        } else {
            return std::size_t{0};
        }
    }();

    /// \throws ConfigError if there are no learners, two of them share parameters, the device does not exist,
    /// or they are on different ones
    explicit Cohort(Learners learners, CohortOptions options = {})
        requires detail::LearnerPack<Learners>
        : Cohort(std::move(learners), PrecisionPolicy{}, std::move(options)) {}
    /// \param precision `Float32`, `Bfloat16` or `Float16`: see trainer/precision.hpp
    /// \throws ConfigError as above, or if the device cannot compute so
    explicit Cohort(Learners learners, PrecisionPolicy precision, CohortOptions options = {})
        requires detail::LearnerPack<Learners>
        : learners_(std::move(learners)),
          options_(std::move(options)),
          scaler_(detail::scaler_of(precision)) {
        if (size() == 0) throw ConfigError("Cohort: expected at least one learner, found none");
        std::unordered_map<const void*, std::size_t> owner;
        detail::each_of(learners_, [&](std::size_t i, const auto& learner) {
            for (const auto& parameter : learner.module().named_parameters()) {
                const auto found = owner.try_emplace(parameter.value().unsafeGetTensorImpl(), i).first;
                if (found->second != i) {
                    throw ConfigError(
                        detail::concat("Cohort: expected learners with parameters of their own, found \"",
                                       parameter.key(), "\" in learners ", found->second, " and ", i,
                                       " (a copied module shares its parameters; clone() makes new ones)"));
                }
            }
            // Not owned: the learner keeps its network.
            module_->register_module(
                detail::concat("learner", i),
                std::shared_ptr<torch::nn::Module>(std::shared_ptr<void>(), &learner.module()));
        });
        if (!options_.device.empty()) module_->to(retort::device(options_.device));
        detail::each_of(learners_, [&](std::size_t i, const auto& learner) {
            if (detail::device_of(learner.module()) != device()) {
                throw ConfigError(detail::concat(
                    "Cohort: expected all learners on one device, found learner 0 on ", device(),
                    " and learner ", i, " on ", detail::device_of(learner.module())));
            }
        });
        detail::check_precision<PrecisionPolicy>(device(), "the learners");
    }
    /// The same from learners one by one: `Cohort{Learner{...}, Learner{...}}`.
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(Learner<N>... learners) : Cohort(Learners(std::move(learners)...)) {}
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(CohortOptions options, Learner<N>... learners)
        : Cohort(Learners(std::move(learners)...), std::move(options)) {}
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(PrecisionPolicy precision, Learner<N>... learners)
        : Cohort(Learners(std::move(learners)...), std::move(precision)) {}
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(PrecisionPolicy precision, CohortOptions options, Learner<N>... learners)
        : Cohort(Learners(std::move(learners)...), std::move(precision), std::move(options)) {}

    std::size_t size() const { return detail::count_of(learners_); }

    /// The losses of a batch at the present progress, with their graphs.
    /// \param graph a `TransferGraph` or a `RuntimeGraph`
    template <class Graph, class B>
    auto losses(Graph& graph, const B& batch) {
        return Run<Graph>(*this, graph).forward(batch).losses;
    }

    /// One step of every learner on a batch. Counts the step in `progress()` and in the graph's `iterations()`.
    ///
    /// Issues the operators of the hand-written step and no other (peers become constants without one), and
    /// does not wait for the device (but with `Float16`, once, where a step whose gradients overflow leaves all
    /// parameters as they are).
    template <class Graph, class B>
    auto step(Graph& graph, const B& batch) {
        Run<Graph> run(*this, graph);
        auto result = run.forward(batch);
        run.backward(result);
        if (run.finish_gradients(1)) {
            run.update();
        } else {
            run.skip();
        }
        return result;
    }

    /// Trains until `options.epochs` epochs are done in all: see `Trainer::fit`.
    ///
    /// The history has a row an epoch: `epoch`; for each learner i `learning_rate_i`, `loss_i`, its incoming
    /// edges by their names (`cross_entropy_to_0`, `soft_target_1_to_0`; means over the samples, behind the
    /// gate and before the weight) and `weight_` their names, `accuracy_i`; `samples`, `seconds`,
    /// `samples_per_second`; then what the callbacks add (`Validation`: `validation_accuracy_i`). Callbacks see
    /// all learners as one module with children `learner0`, `learner1`, ...; the running means are those over
    /// the learners that learn.
    /// \throws ConfigError, DataError, ShapeError, OutputError before the first step where they can be;
    /// NonFiniteError
    template <class Graph, class Source, class... Callbacks>
    const History& fit(Graph& graph, Source&& source, const FitOptions& options, Callbacks&&... callbacks) {
        Run<Graph> run(*this, graph);
        detail::FitLoop<Run<Graph>>(run).run(source, options, callbacks...);
        return history_;
    }

    /// Writes all that the training along a graph depends on to a file, whole or not at all: what `Checkpoint` writes.
    /// Between two steps, or in a callback's `on_settled`. Without a `fit` under way it holds no state of callbacks.
    /// \throws OutputError if it cannot be written; ConfigError if the cohort has made steps and none of them along
    /// this graph
    template <class Graph>
    void save(Graph& graph, const std::filesystem::path& path) {
        Run<Graph> run(*this, graph);
        run.check_followed();
        detail::write_state(path, run_.snapshot(run));
    }
    /// Goes back, or on, to what a file holds (or the newest checkpoint in a directory): `step` and `fit` along this
    /// graph go on from there, `fit` in the middle of an epoch if need be. What takes its size from a first batch
    /// (learnable parts) is set with that batch, and with it the optimizers.
    /// \throws CheckpointError if the file is damaged, or of another composition (learners, edges with their terms and
    /// gates, optimizers: see `Checkpoint`); nothing is changed
    template <class Graph>
    void resume(Graph& graph, const std::filesystem::path& path) {
        Run<Graph> run(*this, graph);
        run_.resume(run, path);
    }

    /// Measures a learner: see `retort::evaluate`.
    /// \throws ConfigError if there is no such learner
    template <class Source, class... Metrics>
    auto evaluate(std::size_t learner, Source&& source, const Metrics&... metrics) {
        static_assert((!Metrics::needs_teacher && ...),
                      "retort: a metric needs a teacher: use retort::evaluate(network, teacher, batches, "
                      "metrics...)");
        NoTeacher none;
        using Result = decltype(detail::measured(first_of(learners_).network(), none, source, metrics...));
        std::optional<Result> result;
        detail::each_of(learners_, [&](std::size_t i, const auto& each) {
            if (i == learner) result.emplace(detail::measured(each.network(), none, source, metrics...));
        });
        if (!result) {
            throw ConfigError(
                detail::concat("Cohort: expected a learner below ", size(), ", found ", learner));
        }
        return *std::move(result);
    }

    /// Where the run stands; see `Trainer::progress`.
    const Progress& progress() const { return progress_; }
    Progress& progress() { return progress_; }
    const History& history() const { return history_; }
    /// A `std::tuple` or `std::vector` of `Learner`.
    const Learners& learners() const { return learners_; }
    /// All learners' modules as children `learner0`, `learner1`, ... of one. Valid as long as the cohort.
    torch::nn::Module& module() const { return *module_; }
    /// The optimizer of a learner; null before the first step in which the graph reaches it.
    torch::optim::Optimizer* optimizer(std::size_t learner) const {
        torch::optim::Optimizer* result = nullptr;
        detail::each_of(learners_, [&](std::size_t i, const auto& each) {
            if (i == learner) result = each.optimizer();
        });
        return result;
    }
    /// The device of the learners.
    at::Device device() const { return detail::device_of(*module_); }
    /// The scaler of the losses; null where the precision needs none.
    const GradientScaler* scaler() const { return scaler_ ? &*scaler_ : nullptr; }
    /// The names of the learners: see `Learner::named`.
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        detail::each_of(learners_, [&](std::size_t, const auto& each) { result.push_back(each.name()); });
        return result;
    }

  private:
    template <class, class, class>
    friend class detail::CohortRun;
    template <class Graph>
    using Run = detail::CohortRun<Learners, PrecisionPolicy, Graph>;

    template <class... T>
    static const auto& first_of(const std::tuple<T...>& row) {
        return std::get<0>(row);
    }
    template <class T>
    static const T& first_of(const std::vector<T>& row) {
        return row.front();
    }
    static std::uint64_t next_id() {
        static std::atomic<std::uint64_t> last{0};
        return ++last;
    }

    Learners learners_;
    CohortOptions options_;
    std::optional<GradientScaler> scaler_;
    std::shared_ptr<torch::nn::Module> module_ = std::make_shared<torch::nn::Module>("Cohort");
    std::vector<at::Tensor> parameters_;
    std::vector<char> has_gradients_;  // of the learners: from a step
    Progress progress_;
    History history_;
    detail::RunState<detail::CohortRecord> run_;
    std::uint64_t id_ = next_id();  // tells graphs whose optimizers have their learnable parts
};

template <class... N>
Cohort(Learner<N>...) -> Cohort<std::tuple<Learner<N>...>>;
template <class... N>
Cohort(CohortOptions, Learner<N>...) -> Cohort<std::tuple<Learner<N>...>>;
template <class N>
Cohort(std::vector<Learner<N>>) -> Cohort<std::vector<Learner<N>>>;
template <class N>
Cohort(std::vector<Learner<N>>, CohortOptions) -> Cohort<std::vector<Learner<N>>>;
template <Precision P, class... N>
Cohort(P, Learner<N>...) -> Cohort<std::tuple<Learner<N>...>, P>;
template <Precision P, class... N>
Cohort(P, CohortOptions, Learner<N>...) -> Cohort<std::tuple<Learner<N>...>, P>;
template <class N, Precision P>
Cohort(std::vector<Learner<N>>, P) -> Cohort<std::vector<Learner<N>>, P>;
template <class N, Precision P>
Cohort(std::vector<Learner<N>>, P, CohortOptions) -> Cohort<std::vector<Learner<N>>, P>;

}  // namespace retort
