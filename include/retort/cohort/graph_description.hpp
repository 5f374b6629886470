// SPDX-License-Identifier: BSL-1.0
/// \file
/// A transfer graph in words: what files and pictures hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace retort {

/// An edge in words.
struct EdgeDescription {
    std::optional<std::size_t> from{};             ///< the learner that teaches; none: the labels
    std::size_t to = 0;                            ///< the learner that is taught
    std::string term{};                            ///< the name of the knowledge term
    std::string gate = "through";                  ///< the name of the gate
    std::map<std::string, double> gate_options{};  ///< those that are not its defaults
    std::optional<double> weight = 1.0;            ///< none: it follows a schedule

    friend bool operator==(const EdgeDescription&, const EdgeDescription&) = default;
};

/// A graph in words. See `graph_file.hpp` for files and `graph_picture.hpp` for pictures.
struct GraphDescription {
    std::vector<std::string>
        learners{};  ///< what each learner is (its architecture, say); may be empty words
    std::vector<EdgeDescription> edges{};

    friend bool operator==(const GraphDescription&, const GraphDescription&) = default;
};

/// Whether nothing ever passes along an edge: its gate is `cutoff`, or its weight 0.
inline bool cut_off(const EdgeDescription& edge) {
    return edge.gate == "cutoff" || (edge.weight && *edge.weight == 0);
}

/// The learners that nothing reaches, the frozen teachers: every edge to them, the label edge included, is missing or
/// cut off.
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

/// What of a graph changes a learner: the edges to it, and to all from which open edges lead to it. The learner learns
/// the same along the result (to the bit, where no learner draws random numbers), and the others, whom nobody asks, are
/// not run.
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
