// SPDX-License-Identifier: BSL-1.0
/// \file
/// The space of graphs of a search, and the part of a graph that affects a learner.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <set>

#include <retort/cohort.hpp>
#include <retort/optim.hpp>

namespace graph_space_test {

using namespace retort_test;
using retort::Cohort;
using retort::ConfigError;
using retort::GraphDescription;
using retort::GraphSpace;
using retort::Learner;
using retort::Sgd;

TEST_CASE("the space of graphs has the published size") {
    const auto size = [](std::size_t learners) {
        return GraphSpace({.learners = learners, .target = "a", .architectures = {"a", "b", "c"}})
            .space()
            .size();
    };
    // 4^(N^2) 3^(N - 1)
    CHECK(size(1) == "4");
    CHECK(size(2) == "768");
    CHECK(size(3) == "2359296");
    CHECK(size(4) == "115964116992");
    CHECK(size(5) == "91197892454252544");
    CHECK(size(7) == "231029321891594808422774159179776");
    CHECK(GraphSpace({.learners = 2, .gates = {"through", "cutoff"}, .label_gates = {"through"}})
              .space()
              .size() == "4");
}

TEST_CASE("every point is a graph that can be drawn, built, saved and read") {
    const GraphSpace graphs({.learners = 3, .target = "small one", .architectures = {"small one", "large"}});
    const auto& space = graphs.space();
    const std::vector<std::string> words{"large",   "small one", "correct", "positive_linear",
                                         "through", "through",   "cutoff",  "through",
                                         "cutoff",  "cutoff",    "correct"};
    const GraphDescription graph = graphs.graph(space.point(words));
    CHECK(
        retort::graph_text(graph) ==
        "retort graph 1\nlearner 0 small one\nlearner 1 large\nlearner 2 small one\n"
        "label 0 cross_entropy correct\nedge 1 0 soft_target positive_linear\nedge 2 0 soft_target through\n"
        "label 1 cross_entropy through\nedge 0 1 soft_target cutoff\nedge 2 1 soft_target through\n"
        "label 2 cross_entropy cutoff\nedge 0 2 soft_target cutoff\nedge 1 2 soft_target correct\nend\n");
    CHECK(space.constraints() == std::vector<std::string>{"learner 0 learns"});
    const TemporaryDirectory folder;
    std::set<std::string> seen;
    for (std::uint64_t i = 0; i < 300; ++i) {
        const GraphDescription drawn = graphs.graph(space.draw(1, i));
        const auto frozen = retort::frozen_learners(drawn);
        CHECK(std::find(frozen.begin(), frozen.end(), 0U) == frozen.end());
        retort::GraphCatalog<torch::Tensor, PairBatch>().build(drawn);
        seen.insert(retort::graph_text(drawn));
        if (i < 5) {
            retort::save_graph(drawn, folder / "x.graph");
            CHECK((retort::load_graph(folder / "x.graph") == drawn));
        }
    }
    CHECK(seen.size() > 290);
}

TEST_CASE("gates of a space may have options, and can be chosen freely") {
    const GraphSpace graphs(
        {.learners = 2,
         .gates = {"positive_linear extra_steps=0", "outcome both=0.5", "through weight=0.25"},
         .label_gates = {"through"},
         .term = "hint",
         .label_term = "margin"});
    const GraphDescription graph =
        graphs.graph(graphs.space().point({"through", "outcome both=0.5", "through", "through weight=0.25"}));
    CHECK(retort::graph_text(graph) ==
          "retort graph 1\nlearner 0\nlearner 1\nlabel 0 margin through\nedge 1 0 hint outcome both=0.5\n"
          "label 1 margin through\nedge 0 1 hint through weight=0.25\nend\n");
    const auto error = [](const retort::GraphSpaceOptions& options) {
        return words_of<ConfigError>([&] { GraphSpace space(options); });
    };
    CHECK(holds(error({.gates = {"through", "positive_linear fast"}}), "expected gates as in a graph file",
                "\"positive_linear fast\"", "name=number"));
    CHECK(holds(error({.label_gates = {" "}}), "expected gates", "the name of a gate"));
    CHECK(holds(error({.gates = {"through", "through"}}), "each choice once", "through"));
    CHECK(holds(error({.gates = {}}), "at least one choice", "edge 1 0"));
    CHECK(holds(error({.learners = 0}), "at least one learner"));
    const GraphSpace shut({.learners = 2, .gates = {"cutoff"}, .label_gates = {"cutoff"}});
    CHECK(holds(words_of<ConfigError>([&] { shut.space().draw(0, 0); }), "found none", "learner 0 learns"));
}

TEST_CASE("a learner trains to the same bits along the part of a graph that leads to it") {
    // 3 teaches 2 teaches 0; 1 only learns, 4 is isolated, and the edge from 1 to 0 is cut off.
    const GraphDescription graph = retort::parse_graph(
        "retort graph 1\nlearner 0\nlearner 1\nlearner 2\nlearner 3\nlearner 4\n"
        "label 0 cross_entropy through\nedge 1 0 soft_target cutoff\nedge 2 0 soft_target correct\n"
        "label 1 cross_entropy through\nedge 0 1 soft_target through\nlabel 2 cross_entropy cutoff\n"
        "edge 3 2 soft_target through\nedge 1 3 soft_target through weight=0\nlabel 4 cross_entropy "
        "through\nend\n");
    CHECK(retort::frozen_learners(graph) == std::vector<std::size_t>{3});
    const GraphDescription part = retort::towards(graph, 0);
    CHECK(part.learners == graph.learners);
    CHECK(part.edges.size() == 6);
    for (const auto& edge : part.edges) CHECK((edge.to == 0 || edge.to == 2 || edge.to == 3));
    CHECK((retort::towards(part, 0) == part));
    CHECK(retort::towards(graph, 4).edges.size() == 1);

    torch::manual_seed(1);
    std::vector<Perceptron> nets, twins;
    std::vector<Learner<Perceptron>> learners, others;
    for (int i = 0; i < 5; ++i) {
        nets.emplace_back(4 + i);
        twins.emplace_back(4 + i);
        copy_state(*nets.back(), *twins.back());
        learners.emplace_back(nets.back(), Sgd{.learning_rate = 0.1});
        others.emplace_back(twins.back(), Sgd{.learning_rate = 0.1});
    }
    const auto start = state(*nets[1]);
    std::vector<torch::Tensor> before;
    for (const auto& tensor : start) before.push_back(tensor.clone());
    Cohort one{learners}, two{others};
    using Catalog = retort::GraphCatalog<torch::Tensor, PairBatch>;
    auto whole = Catalog().build(graph), less = Catalog().build(part);
    const auto batches = vectors(4);
    one.along(whole).fit(batches, {.epochs = 3});
    two.along(less).fit(batches, {.epochs = 3});
    for (const std::size_t i : {0U, 2U, 3U}) CHECK(same(state(*nets[i]), state(*twins[i])));
    CHECK(same(before, state(*twins[1])));
    CHECK_FALSE(same(before, state(*nets[1])));
}

}  // namespace graph_space_test
