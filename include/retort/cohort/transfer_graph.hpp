// SPDX-License-Identifier: BSL-1.0
/// \file
/// Transfer graphs: which learners teach which.
#pragma once

#include <concepts>
#include <cstddef>
#include <tuple>
#include <utility>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/graph_description.hpp>

namespace retort {

namespace detail {

template <class T>
struct IsEdge : std::false_type {};
template <class Source, class Receiver, class Term, class G, class S>
struct IsEdge<Edge<Source, Receiver, Term, G, S>> : std::true_type {};

/// A `TransferGraph` or a `RuntimeGraph`: edges to iterate over.
template <class G>
concept GraphOfEdges = requires(const G& graph) {
    { graph.size() } -> std::convertible_to<std::size_t>;
    { graph.description() } -> std::same_as<GraphDescription>;
    graph.each([](std::size_t, const auto&) {});
};

}  // namespace detail

/// Which learners teach which, known at compile time: a step costs what a hand-written step costs.
///
///     retort::TransferGraph graph{
///         retort::label<0>(),                                                  // cross-entropy with the labels
///         retort::label<1>(),
///         retort::edge<1, 0>(retort::SoftTarget{}, retort::gate::Correct{}),   // learner 1 teaches learner 0
///         retort::edge<0, 1>(retort::SoftTarget{}, retort::gate::PositiveLinear{}, 0.5),
///     };
///
/// The loss of a learner is the sum of its incoming edges, in the order listed here. A learner without an active
/// incoming edge in a step is frozen in that step. Copies of a graph share the learnable parts of its terms.
/// Source: Minami, Hirakawa, Yamashita, Fujiyoshi, "Knowledge Transfer Graph for Deep Collaborative Learning",
/// ACCV 2020.
template <class... Edges>
class TransferGraph {
    static_assert(sizeof...(Edges) > 0, "retort: a TransferGraph has at least one edge");
    static_assert((detail::IsEdge<Edges>::value && ...),
                  "retort: a TransferGraph consists of edges: retort::label<to>(...), retort::edge<from, "
                  "to>(...)");

  public:
    explicit TransferGraph(Edges... edges) : edges_(std::move(edges)...) {}

    static constexpr std::size_t size() { return sizeof...(Edges); }
    const std::tuple<Edges...>& edges() const { return edges_; }

    /// Calls `function(position, edge)` for every edge, in order.
    template <class F>
    void each(F&& function) {
        each(edges_, function);
    }
    template <class F>
    void each(F&& function) const {
        each(edges_, function);
    }
    /// A description of the graph, for files and pictures.
    GraphDescription description() const {
        GraphDescription result;
        each([&](std::size_t, const auto& edge) { result.edges.push_back(edge.description()); });
        return result;
    }

  private:
    template <class Tuple, class F>
    static void each(Tuple& edges, F& function) {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (function(I, std::get<I>(edges)), ...);
        }(std::index_sequence_for<Edges...>{});
    }
    std::tuple<Edges...> edges_;
};

namespace detail {

/// The graph of a tuple of edges.
template <class... Edges>
auto graph_of(std::tuple<Edges...> edges) {
    return std::apply([](auto&... each) { return TransferGraph<Edges...>(std::move(each)...); }, edges);
}

}  // namespace detail

}  // namespace retort
