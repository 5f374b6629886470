// SPDX-License-Identifier: BSL-1.0
/// \file
/// Terms and gates by name: builds graphs from descriptions.
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include <retort/checkpoint/archive.hpp>
#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate.hpp>
#include <retort/cohort/graph_description.hpp>
#include <retort/cohort/runtime_graph.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

namespace retort {

namespace detail {

/// A type-erased gate.
struct AnyWeighingGate {
    static constexpr bool per_sample = false;
    std::function<double(std::int64_t, const Progress&)> call;
    std::function<void(Archive&)> archive;
    std::string word;
    std::map<std::string, double> values;

    double weight(std::int64_t iteration, const Progress& progress) const {
        return call(iteration, progress);
    }
    std::string name() const { return word; }
    std::map<std::string, double> options() const { return values; }
    void checkpoint(Archive& into) { archive(into); }
};
template <class Outputs, class B>
struct AnySampleGate {
    static constexpr bool per_sample = true;
    std::function<double(std::int64_t, const Progress&)> weigh;
    std::function<at::Tensor(const at::Tensor&, const Outputs&, const Outputs*, const B&)> call;
    std::function<void(Archive&)> archive;
    std::string word;
    std::map<std::string, double> values;

    double weight(std::int64_t iteration, const Progress& progress) const {
        return weigh(iteration, progress);
    }
    at::Tensor operator()(const at::Tensor& losses, const Outputs& to, const Outputs& from,
                          const B& batch) const {
        return call(losses, to, &from, batch);
    }
    at::Tensor operator()(const at::Tensor& losses, const Outputs& to, const NoOutputs&,
                          const B& batch) const {
        return call(losses, to, nullptr, batch);
    }
    std::string name() const { return word; }
    std::map<std::string, double> options() const { return values; }
    void checkpoint(Archive& into) { archive(into); }
};

}  // namespace detail

/// Terms and gates by name, to build a `RuntimeGraph` from a graph file.
///
///     retort::GraphCatalog<Outputs, Batch> catalog;
///     catalog.term("soft_target", retort::SoftTarget{.temperature = 3.0}).gate("easier_half", EasierHalf{});
///     auto graph = catalog.build(retort::load_graph("best.graph"));
///
/// It starts with the terms `cross_entropy` and `soft_target` (at temperature 1) and the gates `through`,
/// `cutoff`, `positive_linear` (options `iterations`, `extra_steps`, `by_epoch`), `negative_linear` (by epoch without
/// options), `correct` and `outcome` (`both`, `source`, `receiver`, `neither`).
template <class Outputs = at::Tensor, class B = data::Batch>
class GraphCatalog {
  public:
    using Graph = RuntimeGraph<Outputs, B>;
    using Options = std::map<std::string, double>;

    GraphCatalog() {
        term("cross_entropy", CrossEntropy{});
        term("soft_target", SoftTarget{.temperature = 1.0});
        gate("through", gate::Through{});
        gate("cutoff", gate::Cutoff{});
        gate("correct", gate::Correct{});
        gate("positive_linear", [](Options& options) {
            retort::gate::PositiveLinear result;
            line(options, result);
            return result;
        });
        gate("negative_linear", [](Options& options) {
            retort::gate::NegativeLinear result;
            line(options, result);
            return result;
        });
        gate("outcome", [](Options& options) {
            retort::gate::Outcome result;
            take(options, "both", result.both);
            take(options, "source", result.source);
            take(options, "receiver", result.receiver);
            take(options, "neither", result.neither);
            return result;
        });
    }

    /// Registers a term, or replaces the one of that name. All edges that a catalog builds from a term share its
    /// learnable parts, so that a term with learnable parts needs an entry for each receiver.
    template <SaysWhatItNeeds Term>
    GraphCatalog& term(const std::string& name, Term term) {
        terms_[name] = [term = std::move(term), name](Graph& graph, const EdgeDescription& words,
                                                      AnyGate gate) {
            std::visit(
                [&](auto each) {
                    using G = decltype(each);
                    if constexpr (G::per_sample && !PerSampleTerm<Term>) {
                        throw ConfigError(
                            detail::concat("graph: expected a term with losses per sample before the gate ",
                                           words.gate, ", found ", name));
                    } else if constexpr (Term::needs_teacher) {
                        if (!words.from) {
                            throw ConfigError(detail::concat(
                                "graph: expected ", name,
                                " on an edge between learners, as it needs a teacher, found it "
                                "on one from the labels to learner ",
                                words.to));
                        }
                        graph.add(
                            retort::edge(*words.from, words.to, term, std::move(each), words.weight.value()),
                            name);
                    } else {
                        if (words.from) {
                            throw ConfigError(
                                detail::concat("graph: expected ", name,
                                               " on an edge from the labels, as it needs no teacher, found "
                                               "it on one from learner ",
                                               *words.from, " to learner ", words.to));
                        }
                        graph.add(retort::label(words.to, term, std::move(each), words.weight.value()), name);
                    }
                },
                std::move(gate));
        };
        return *this;
    }
    /// Registers a gate without options.
    template <Gate G>
    GraphCatalog& gate(const std::string& name, G gate) {
        return this->gate(name, [gate = std::move(gate)](Options&) { return gate; });
    }
    /// Registers a gate with options: `make(options)` removes those that it uses from the map.
    template <std::invocable<std::map<std::string, double>&> Make>
    GraphCatalog& gate(const std::string& name, Make make) {
        gates_[name] = [make = std::move(make), name](const Options& options) {
            Options rest = options;
            const auto each = make(rest);
            if (!rest.empty()) {
                throw ConfigError(detail::concat("graph: expected options that the gate ", name,
                                                 " has, found \"", rest.begin()->first, '"'));
            }
            detail::check_policy(each);
            return erase(each, name, options);
        };
        return *this;
    }

    /// Builds the graph of a description.
    /// \throws ConfigError if it has an unknown term or gate, an option that the gate does not have, or a term and a
    /// gate that do not fit together
    Graph build(const GraphDescription& description) const {
        Graph result;
        for (const EdgeDescription& edge : description.edges) {
            const auto& make_gate = known(gates_, "gate", edge.gate);
            const auto& add = known(terms_, "term", edge.term);
            if (!edge.weight)
                throw ConfigError(
                    "graph: expected edges of fixed weights, found one that follows a schedule");
            add(result, edge, make_gate(edge.gate_options));
        }
        return result;
    }

    /// Moves an option out of a map, if it is there.
    static void take(Options& options, const std::string& name, double& value) {
        if (const auto found = options.find(name); found != options.end()) {
            value = found->second;
            options.erase(found);
        }
    }

  private:
    using AnyGate = std::variant<detail::AnyWeighingGate, detail::AnySampleGate<Outputs, B>>;

    template <class G>
    static AnyGate erase(G made, const std::string& name, const Options& options) {
        const auto gate = std::make_shared<G>(std::move(made));
        const auto weigh = [gate](std::int64_t iteration, const Progress& progress) {
            return detail::gate_weight(*gate, iteration, progress);
        };
        const auto archive = [gate](Archive& into) { detail::archive_policy(into, "gate", *gate); };
        if constexpr (G::per_sample) {
            return detail::AnySampleGate<Outputs, B>{
                weigh,
                [gate](const at::Tensor& losses, const Outputs& to, const Outputs* from, const B& batch) {
                    return from == nullptr ? at::Tensor((*gate)(losses, to, NoOutputs{}, batch))
                                           : at::Tensor((*gate)(losses, to, *from, batch));
                },
                archive, name, options};
        } else {
            return detail::AnyWeighingGate{weigh, archive, name, options};
        }
    }
    template <class G>
    static void line(Options& options, G& gate) {
        double by_epoch = 0;
        take(options, "by_epoch", by_epoch);
        const bool counts = options.contains("iterations") || options.contains("extra_steps");
        take(options, "iterations", gate.iterations);
        take(options, "extra_steps", gate.extra_steps);
        if (counts) gate.unit = Every::step;
        if (by_epoch != 0) gate.unit = Every::epoch;
    }
    template <class Map>
    static const auto& known(const Map& map, const char* what, const std::string& name) {
        const auto found = map.find(name);
        if (found == map.end()) {
            std::string names;
            for (const auto& [each, unused] : map) names.append(names.empty() ? "" : ", ").append(each);
            throw ConfigError(
                detail::concat("graph: expected one of the ", what, "s ", names, "; found \"", name, '"'));
        }
        return found->second;
    }

    std::map<std::string, std::function<void(Graph&, const EdgeDescription&, AnyGate)>> terms_;
    std::map<std::string, std::function<AnyGate(const Options&)>> gates_;
};

}  // namespace retort
