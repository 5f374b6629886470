// SPDX-License-Identifier: BSL-1.0
/// \file
/// A transfer graph as text: the contents of graph files and images.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace retort {

/// An edge as text.
struct EdgeDescription {
    std::optional<std::size_t> from{};             ///< the teaching learner; none: the labels
    std::size_t to = 0;                            ///< the receiving learner
    std::string term{};                            ///< the name of the knowledge term
    std::string gate = "through";                  ///< the name of the gate
    std::map<std::string, double> gate_options{};  ///< those that differ from the defaults
    std::optional<double> weight = 1.0;            ///< none: given by a schedule

    friend bool operator==(const EdgeDescription&, const EdgeDescription&) = default;
};

/// A graph as text. See `graph_file.hpp` for files and `graph_picture.hpp` for images.
struct GraphDescription {
    std::vector<std::string>
        learners{};  ///< the kind of each learner (for example, its architecture); may be empty
    std::vector<EdgeDescription> edges{};

    friend bool operator==(const GraphDescription&, const GraphDescription&) = default;
};

/// Whether nothing ever passes along an edge: its gate is `cutoff`, or its weight is 0.
inline bool cut_off(const EdgeDescription& edge) {
    return edge.gate == "cutoff" || (edge.weight && *edge.weight == 0);
}

/// The learners that nothing reaches, the frozen teachers: every edge to them, including the label edge, is missing
/// or cut off.
inline std::vector<std::size_t> frozen_learners(const GraphDescription& graph) {
    std::vector<bool> learns(graph.learners.size(), false);
    for (const EdgeDescription& edge : graph.edges) {
        if (edge.to < learns.size() && !cut_off(edge)) learns[edge.to] = true;
    }
    std::vector<std::size_t> result;
    for (std::size_t i = 0; i < learns.size(); ++i) {
        if (!learns[i]) result.push_back(i);
    }
    return result;
}

/// The part of a graph that affects a learner: the edges to it, and to all learners with open edges leading to it.
/// The learner is trained identically along the result (bit for bit, if no learner draws random numbers), and all
/// others are not run.
inline GraphDescription towards(const GraphDescription& graph, std::size_t learner) {
    std::vector<std::size_t> asked{learner};
    const auto known = [&](std::size_t i) { return std::find(asked.begin(), asked.end(), i) != asked.end(); };
    for (std::size_t next = 0; next < asked.size(); ++next) {
        for (const EdgeDescription& edge : graph.edges) {
            if (edge.to == asked[next] && edge.from && !cut_off(edge) && !known(*edge.from))
                asked.push_back(*edge.from);
        }
    }
    GraphDescription result{.learners = graph.learners};
    for (const EdgeDescription& edge : graph.edges) {
        if (known(edge.to)) result.edges.push_back(edge);
    }
    return result;
}

}  // namespace retort
