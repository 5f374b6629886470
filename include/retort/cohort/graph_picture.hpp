// SPDX-License-Identifier: BSL-1.0
/// \file
/// Transfer graphs as images, for Graphviz.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include <retort/cohort/graph_description.hpp>
#include <retort/cohort/graph_file.hpp>

namespace retort {

namespace detail {

inline std::string dot_quoted(const std::string& words) {
    std::string result = "\"";
    for (const char c : words) {
        if (c == '\n') {
            result += "\\n";
            continue;
        }
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result += '"';
}

}  // namespace detail

/// A graph in Graphviz' language (`dot -Tsvg graph.dot > graph.svg`): learners as circles, the labels as a box, edges
/// with their term, gate and weight. Edges that are cut off are dashed; learners that nothing reaches, the frozen
/// teachers, are gray.
inline std::string graph_dot(const GraphDescription& graph) {
    std::size_t count = graph.learners.size();
    bool labels = false;
    for (const EdgeDescription& edge : graph.edges) {
        count = std::max({count, edge.to + 1, edge.from.value_or(0) + 1});
        labels = labels || !edge.from;
    }
    std::string result = "digraph transfer {\n  rankdir=LR;\n  node [shape=circle];\n";
    if (labels) result += "  labels [shape=box];\n";
    for (std::size_t i = 0; i < count; ++i) {
        const bool learns =
            std::any_of(graph.edges.begin(), graph.edges.end(),
                        [&](const EdgeDescription& edge) { return edge.to == i && !cut_off(edge); });
        std::string name = std::to_string(i);
        if (i < graph.learners.size() && !graph.learners[i].empty())
            name.append("\n").append(graph.learners[i]);
        result += detail::concat("  ", i, " [label=", detail::dot_quoted(name),
                                 learns ? "" : ", style=filled, fillcolor=gray85", "];\n");
    }
    for (const EdgeDescription& edge : graph.edges) {
        std::string name = detail::concat(edge.term, "\n", edge.gate);
        for (const auto& [option, value] : edge.gate_options)
            name += detail::concat(' ', option, '=', detail::number_text(value));
        if (!edge.weight) {
            name += "\nscheduled";
        } else if (*edge.weight != 1) {
            name += detail::concat("\nx ", detail::number_text(*edge.weight));
        }
        result +=
            detail::concat("  ", edge.from ? std::to_string(*edge.from) : std::string("labels"), " -> ",
                           edge.to, " [label=", detail::dot_quoted(name),
                           cut_off(edge) ? ", style=dashed, color=gray60, fontcolor=gray60" : "", "];\n");
    }
    return result += "}\n";
}

}  // namespace retort
