// SPDX-License-Identifier: BSL-1.0
/// \file
/// The search space of transfer graphs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <retort/cohort/graph_description.hpp>
#include <retort/cohort/graph_file.hpp>
#include <retort/core/error.hpp>
#include <retort/search/space.hpp>

namespace retort {

/// Options of `GraphSpace`. A gate may have options, as in a graph file: `positive_linear extra_steps=0`,
/// `outcome both=0.5 source=1`, `through weight=0.5`.
struct GraphSpaceOptions {
    std::size_t learners = 3;
    /// The kind of learner 0, the target of the search; may be empty.
    std::string target{};
    /// The candidates for each of the others. Empty: all are like learner 0, and nothing is chosen.
    std::vector<std::string> architectures{};
    std::vector<std::string> gates{"through", "cutoff", "positive_linear", "correct"};  ///< between learners
    std::vector<std::string> label_gates{"through", "cutoff", "positive_linear",
                                         "correct"};  ///< from the labels
    std::string term = "soft_target";                 ///< between learners
    std::string label_term = "cross_entropy";         ///< from the labels
};

/// A search space of transfer graphs: a gate for each edge, including those from the labels, and an architecture for
/// each learner except the first, which is the target of the search.
///
///     const retort::GraphSpace graphs{{.learners = 3, .target = "resnet32",
///                                      .architectures = {"resnet32", "resnet110", "wrn28-2"}}};
///     graphs.space().size();                                 // 4^9 * 3^2 = "2359296"
///     retort::search::Study study{"graphs.study", {.space = graphs.space()}};
///     study.run([&](retort::search::Trial& trial) { train(graphs.graph(trial.point())); ... });
///
/// Formula: \f$ G^{N(N-1)} \, L^N \, A^{N-1} \f$ graphs of N learners with G gates, L gates from the labels and A
/// architectures. Excluded are those in which learner 0 learns nothing, as all edges to it are cut off. (On edges
/// from the labels `correct` is the same as `through`; both count.)
///
/// Source: Minami, Hirakawa, Yamashita, Fujiyoshi, "Knowledge Transfer Graph for Deep Collaborative Learning", ACCV
/// 2020; gates, architectures and exclusions as in the released code.
class GraphSpace {
  public:
    /// \throws ConfigError if there is nothing to choose, a choice is listed twice, or a gate is not as in a graph
    /// file
    explicit GraphSpace(GraphSpaceOptions options = {}) : options_(std::move(options)) {
        const std::size_t count = options_.learners;
        if (count < 1) throw ConfigError("GraphSpace: expected at least one learner, found none");
        for (std::size_t i = 1; i < count && !options_.architectures.empty(); ++i)
            space_.choice(detail::concat("learner ", i), options_.architectures);
        for (std::size_t to = 0; to < count; ++to) {
            space_.choice(detail::concat("label ", to), options_.label_gates);
            for (std::size_t from = 0; from < count; ++from) {
                if (from == to) continue;
                space_.choice(detail::concat("edge ", from, ' ', to), options_.gates);
            }
        }
        // Every gate is parsed once, so that mistakes are found here.
        for (const std::vector<std::string>* gates : {&options_.label_gates, &options_.gates}) {
            for (std::size_t i = 0; i < gates->size(); ++i) {
                search::Point point(space_.variables().size(), 0);
                for (std::size_t v = 0; v < point.size(); ++v) {
                    const bool label = space_.variables()[v].name.starts_with("label");
                    if (space_.variables()[v].name.starts_with("learner") ||
                        label != (gates == &options_.label_gates))
                        continue;
                    point[v] = i;
                }
                try {
                    graph(point);
                } catch (const DataError& error) {
                    throw ConfigError(
                        detail::concat("GraphSpace: expected gates as in a graph file, found \"", (*gates)[i],
                                       "\" (", error.what(), ')'));
                }
            }
        }
        space_.only_if("learner 0 learns", [graphs = *this](const search::Point& point) {
            const GraphDescription graph = graphs.graph(point);
            return std::any_of(graph.edges.begin(), graph.edges.end(),
                               [](const EdgeDescription& edge) { return edge.to == 0 && !cut_off(edge); });
        });
    }

    const GraphSpaceOptions& options() const { return options_; }
    const search::Space& space() const { return space_; }
    /// The graph of a point; `save_graph` writes it, `GraphCatalog` builds it.
    /// \throws ConfigError if the point is not in this space
    GraphDescription graph(const search::Point& point) const {
        // Through the text of a graph file, so that gates with options have one meaning.
        std::string words(detail::graph_file_header);
        for (std::size_t i = 0; i < options_.learners; ++i) {
            const bool chosen = i > 0 && !options_.architectures.empty();
            words +=
                detail::concat("\nlearner ", i, ' ',
                               chosen ? space_.word(point, detail::concat("learner ", i)) : options_.target);
        }
        const std::vector<std::string> choices = space_.words(point);
        for (std::size_t i = 0; i < choices.size(); ++i) {
            const std::string& name = space_.variables()[i].name;
            if (name.starts_with("learner")) continue;
            const std::string& term = name.starts_with("label") ? options_.label_term : options_.term;
            words += detail::concat('\n', name, ' ', term, ' ', choices[i]);
        }
        return parse_graph(words + "\nend\n", "graph");
    }

  private:
    GraphSpaceOptions options_;
    search::Space space_;
};

}  // namespace retort
