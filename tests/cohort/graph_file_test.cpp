// SPDX-License-Identifier: BSL-1.0
/// \file
/// Graphs as text: files that round-trip, malformed files, pictures, and graphs built from text.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/cohort.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>

namespace graph_file_test {

using namespace retort_test;
using retort::Cohort;
using retort::CrossEntropy;
using retort::GraphDescription;
using retort::Learner;
using retort::RuntimeGraph;
using retort::Sgd;
using retort::SoftTarget;
namespace gate = retort::gate;

namespace {
using Catalog = retort::GraphCatalog<torch::Tensor, PairBatch>;

GraphDescription example() {
    RuntimeGraph<torch::Tensor, PairBatch> graph;
    graph.label(0)
        .label(1, CrossEntropy{}, gate::NegativeLinear{})
        .label(2, CrossEntropy{}, gate::Cutoff{})
        .edge(1, 0, SoftTarget{.temperature = 1.0}, gate::Correct{}, 0.1)
        .edge(2, 0, SoftTarget{.temperature = 1.0}, gate::PositiveLinear{.iterations = 156400})
        .edge(0, 1, SoftTarget{.temperature = 1.0}, gate::Outcome{.both = 0.25, .receiver = -1.0 / 3}, 1e-3)
        .edge(2, 1, SoftTarget{.temperature = 1.0}, gate::PositiveLinear{.unit = retort::Every::epoch})
        .edge(0, 1, SoftTarget{.temperature = 1.0},
              gate::NegativeLinear{.unit = retort::Every::step, .extra_steps = 0});
    GraphDescription result = graph.description();
    result.learners = {"resnet32", "", "wide resnet, 28 layers"};
    return result;
}
struct EasierHalf {
    static constexpr bool per_sample = true;
    torch::Tensor operator()(const torch::Tensor& losses, const auto&, const auto&, const auto&) const {
        return losses * losses.detach().le(losses.detach().median());
    }
};
}  // namespace

TEST_CASE("a graph file round-trips to a graph that steps to the same bits") {
    const TemporaryDirectory folder;
    const GraphDescription words = example();
    const auto path = folder / "best.graph";
    retort::save_graph(words, path);
    const GraphDescription read = retort::load_graph(path);
    CHECK(read == words);
    CHECK(retort::graph_text(read) == retort::graph_text(words));
    CHECK(read_file(path).starts_with(
        "retort graph 1\nlearner 0 resnet32\nlearner 1\nlearner 2 wide resnet, 28 layers\n"
        "label 0 cross_entropy through\n"));

    auto loaded = Catalog().build(read);
    GraphDescription again = loaded.description();
    again.learners = read.learners;
    CHECK(again == words);

    torch::manual_seed(1);
    std::vector<Perceptron> nets, twins;
    std::vector<Learner<Perceptron>> learners, others;
    for (int i = 0; i < 3; ++i) {
        nets.emplace_back(4 + i);
        twins.emplace_back(4 + i);
        copy_state(*nets.back(), *twins.back());
        learners.emplace_back(nets.back(), Sgd{});
        others.emplace_back(twins.back(), Sgd{});
    }
    Cohort one{learners}, two{others};
    const SoftTarget kl{.temperature = 1.0};
    RuntimeGraph<torch::Tensor, PairBatch> direct;
    direct.label(0).label(1, CrossEntropy{}, gate::NegativeLinear{}).edge(1, 0, kl, gate::Correct{}, 0.1);
    direct.edge(2, 0, kl, gate::PositiveLinear{.iterations = 156400});
    direct.edge(0, 1, kl, gate::Outcome{.both = 0.25, .receiver = -1.0 / 3}, 1e-3);
    direct.edge(2, 1, kl, gate::PositiveLinear{.unit = retort::Every::epoch});
    direct.edge(0, 1, kl, gate::NegativeLinear{.unit = retort::Every::step, .extra_steps = 0});
    const auto batches = vectors(4);
    one.along(loaded).fit(batches, {.epochs = 3});
    two.along(direct).fit(batches, {.epochs = 3});
    for (std::size_t i = 0; i < 3; ++i) CHECK(same(state(*nets[i]), state(*twins[i])));
}

TEST_CASE("errors of malformed files name the line and what was expected there") {
    const auto error = [](const std::string& text) {
        return words_of<retort::DataError>([&] { retort::parse_graph(text, "x.graph"); });
    };
    const std::string head = "retort graph 1\nlearner 0 a\nlearner 1\n";
    const std::vector<std::array<std::string, 3>> cases{
        {"", "x.graph:0: expected \"retort graph 1\"", "the end of the file"},
        {"retort graph 2\n", "x.graph:1: expected \"retort graph 1\"", "found retort graph 2"},
        {"retort graph 1\nend\n", "x.graph:2: expected at least one learner", "none"},
        {head, "x.graph:3: expected \"end\" (was the file cut?)", "the end of the file"},
        {head + "end of it\n", "x.graph:4: expected learner, label, edge or end", "end of it"},
        {head + "end\nedge 1 0 t g\n", "x.graph:5: expected the end of the file", "found edge"},
        {head + "learner 2 " + std::string(5 << 20, 'a'),
         "x.graph: expected a graph of at most 4194304 bytes", ""},
        {"retort graph 1\nlearner 1 a\n", "x.graph:2: expected learner 0", "found learner 1"},
        {"retort graph 1\nlearner\n", "x.graph:2: expected the position of a learner", "the end of the line"},
        {"retort graph 1\nlabel 0 t g\n", "x.graph:2: expected a learner line first", "found 0"},
        {head + "node 2\n", "x.graph:4: expected learner, label, edge or end", "found node"},
        {head + "label 2 t g\n", "x.graph:4: expected the position of a receiver below 2", "found 2"},
        {head + "\n# words\nedge -1 0 t g\n", "x.graph:6: expected the position of a source below 2",
         "found -1"},
        {head + "edge 1 0x t g\n", "x.graph:4: expected the position of a receiver below 2", "found 0x"},
        {head + "edge 1\n", "x.graph:4: expected the position of a receiver", "the end of the line"},
        {head + "edge 1 0\n", "x.graph:4: expected the name of a term", "the end of the line"},
        {head + "edge 1 0 t\n", "x.graph:4: expected the name of a gate", "the end of the line"},
        {head + "edge 1 0 t g 0.5\n", "x.graph:4: expected an option as name=number", "found 0.5"},
        {head + "edge 1 0 t g weight=\n", "x.graph:4: expected an option as name=number", "found weight="},
        {head + "edge 1 0 t g weight=inf\n", "x.graph:4: expected an option as name=number",
         "found weight=inf"},
        {head + "edge 1 0 t g a=1 a=2\n", "x.graph:4: expected each option once", "found a=2"},
    };
    for (const auto& [text, where, found] : cases) {
        INFO(text);
        CHECK(holds(error(text), where, found));
    }
    CHECK(words_of<retort::DataError>([] {
              retort::load_graph("/nowhere/x.graph");
          }).find("/nowhere/x.graph") != std::string::npos);
    // No prefix of a good file is a graph, however it is cut: only the last line break is not needed.
    const std::string whole = retort::graph_text(example());
    for (std::size_t length = 0; length + 1 < whole.size(); ++length) {
        INFO(length);
        CHECK_THROWS_AS(retort::parse_graph(whole.substr(0, length)), retort::DataError);
    }
    CHECK(retort::parse_graph(whole + "\n# a comment\n") == example());
    // A file of huge declared length costs nothing.
    const TemporaryDirectory folder;
    write_file(folder / "huge.graph", whole);
    std::filesystem::resize_file(folder / "huge.graph", std::uintmax_t{1} << 36);
    CHECK(holds(words_of<retort::DataError>([&] { retort::load_graph(folder / "huge.graph"); }), "huge.graph",
                "at most 4194304 bytes", "found 68719476736"));
}

TEST_CASE("what a file cannot represent is refused before writing") {
    const TemporaryDirectory folder;
    const auto refused = [&](const auto& graph) {
        return words_of<retort::ConfigError>([&] { retort::save_graph(graph, folder / "x.graph"); });
    };
    const retort::TransferGraph scheduled{retort::label<0>(
        CrossEntropy{}, gate::Through{}, retort::Exponential{.initial = 1.0, .factor = 0.5})};
    CHECK(holds(refused(scheduled.description()), "follows a schedule"));
    CHECK(holds(refused(GraphDescription{{"a\nb"}, {}}), "without blanks or line breaks"));
    CHECK(holds(refused(GraphDescription{{"a"}, {{.term = "two words"}}}), "two words"));
    CHECK_FALSE(std::filesystem::exists(folder / "x.graph"));
}

TEST_CASE("a catalog names unknown entries, and takes custom terms and gates") {
    const auto error = [](const std::string& lines) {
        return words_of<retort::ConfigError>([&] {
            Catalog().build(retort::parse_graph("retort graph 1\nlearner 0\nlearner 1\n" + lines + "end\n"));
        });
    };
    CHECK(holds(error("label 0 hinge through\n"), "terms cross_entropy, soft_target", "found \"hinge\""));
    CHECK(holds(error("label 0 cross_entropy ajar\n"), "gates correct, cutoff, negative_linear",
                "found \"ajar\""));
    CHECK(holds(error("label 0 cross_entropy positive_linear speed=2\n"), "positive_linear", "\"speed\""));
    CHECK(holds(error("label 0 cross_entropy positive_linear iterations=-2\n"), "iterations", "-2"));
    CHECK(holds(error("label 0 soft_target through\n"), "between learners", "labels to learner 0"));
    CHECK(holds(error("edge 1 0 cross_entropy through\n"), "from the labels", "learner 1 to learner 0"));

    Catalog catalog;
    catalog.term("warm", SoftTarget{.temperature = 3.0}).gate("easier_half", EasierHalf{});
    auto graph = catalog.build(retort::parse_graph(
        "retort graph 1\nlearner 0\nlearner 1\nedge 1 0 warm easier_half weight=2\nend\n"));
    CHECK(graph.description().edges[0].term == "warm");
    torch::manual_seed(2);
    Perceptron a, b;
    Cohort cohort{Learner{a, Sgd{}}, Learner{b}};
    const auto batch = vectors(1)[0];
    retort::TransferGraph direct{retort::edge<1, 0>(SoftTarget{.temperature = 3.0}, EasierHalf{}, 2.0)};
    CHECK(same(cohort.along(graph).losses(batch)[0].total, cohort.along(direct).losses(batch)[0].total));
}

TEST_CASE("pictures show gates, weights and frozen learners") {
    GraphDescription words = example();
    words.learners[1] = "a \"quoted\" \\ name";
    const std::string dot = retort::graph_dot(words);
    CHECK(holds(dot, "digraph transfer {", "labels [shape=box];", "0 [label=\"0\\nresnet32\"];",
                "1 [label=\"1\\na \\\"quoted\\\" \\\\ name\"];",
                "2 [label=\"2\\nwide resnet, 28 layers\", style=filled, fillcolor=gray85];",
                "labels -> 2 [label=\"cross_entropy\\ncutoff\", style=dashed",
                "1 -> 0 [label=\"soft_target\\ncorrect\\nx 0.1\"];",
                "2 -> 0 [label=\"soft_target\\npositive_linear iterations=156400\"];"));
    CHECK(std::count(dot.begin(), dot.end(), '{') == std::count(dot.begin(), dot.end(), '}'));
    const retort::TransferGraph scheduled{retort::label<0>(
        CrossEntropy{}, gate::Through{}, retort::Exponential{.initial = 1.0, .factor = 0.5})};
    CHECK(holds(retort::graph_dot(scheduled.description()), "scheduled"));
}

}  // namespace graph_file_test
