// SPDX-License-Identifier: BSL-1.0
/// \file
/// The same learners independently, in deep mutual learning, and along a knowledge transfer graph; compared over
/// seeds.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <retort/cohort.hpp>
#include <retort/retort.hpp>

#include "../common/study.hpp"
#include "../common/ways.hpp"

namespace {

using examples::Way;
using Graph = retort::RuntimeGraph<>;

struct Options : examples::StudyOptions {
    std::string graph;
    std::vector<std::string> networks;
    examples::RunFolder run;
};

void describe(CLI::App& app, Options& options) {
    options.out = "examples-output/mutual_learning";
    options.add_to(app, "Epochs of each run");
    options.run.add_to(app);
    app.add_option("--networks", options.networks,
                   "The learners: cnn<width>, resnet<depth>, wrn<depth>-<width>; at least two. Default: cnn8 "
                   "cnn8 cnn16, or resnet32 resnet32 resnet110 for CIFAR-100")
        ->delimiter(',');
    app.add_option(
        "--graph", options.graph,
        "File with the graph to compare with. Default: the first learner learns from the last where "
        "that is right, and teaches the others with growing weight");
    app.footer(
        "Writes to the folder of --out, for independent, mutual and graph:\n"
        "  <name>.graph         the graph as text, for --graph\n"
        "  <name>.dot           the graph as an image: dot -Tsvg graph.dot > graph.svg\n"
        "  <name>_<seed>.csv    all measurements, by epoch");
}

/// A third graph: all learn from the labels; the first one from the last where that is right, the others
/// from the first, with growing weight.
Graph example_graph(std::size_t learners) {
    const retort::SoftTarget transfer{.temperature = 1.0};
    Graph graph;
    for (std::size_t i = 0; i < learners; ++i) graph.label(i);
    graph.edge(learners - 1, 0, transfer, retort::gate::Correct{});
    for (std::size_t i = 1; i < learners; ++i) graph.edge(0, i, transfer, retort::gate::PositiveLinear{});
    return graph;
}

void compare(Options options) {
    const at::Device device = options.machine.apply();
    const examples::ImageData data = options.load();
    if (options.networks.empty()) {
        options.networks = data.colored ? std::vector<std::string>{"resnet32", "resnet32", "resnet110"}
                                        : std::vector<std::string>{"cnn8", "cnn8", "cnn16"};
    }
    const std::size_t count = options.networks.size();
    if (count < 2) throw retort::ConfigError("--networks: expected at least two learners, found one");
    for (const std::string& name : options.networks)
        models::image_network(name, data.classes(), data.channels());  // rejects invalid names
    const examples::OutputFolder out(options.out);

    std::vector<Way> ways{{"independent", examples::all_independent(count)},
                          {"mutual", retort::mutual_learning(count).description()},
                          {"graph", options.graph.empty() ? example_graph(count).description()
                                                          : retort::load_graph(options.graph)}};
    for (Way& way : ways) {
        if (!way.words.learners.empty() && way.words.learners.size() != count) {
            throw retort::ConfigError("--graph: expected a graph of " + std::to_string(count) +
                                      " learners, found " + std::to_string(way.words.learners.size()));
        }
        way.words.learners = options.networks;
        examples::save_way(way, out);
    }
    examples::announce(data, device);
    retort::Stages stages = options.run.stages();
    const examples::TrainWay with{options, data, device, out, stages};
    for (int seed = 0; seed < options.seeds; ++seed) {
        for (Way& way : ways) examples::train(way, static_cast<std::uint64_t>(seed), with);
    }
    examples::print_table(ways, options.seeds, count);
    std::printf("\nGraphs and histories: %s\n", out.path().c_str());
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Deep mutual learning and a knowledge transfer graph compared with independent training: the same "
        "learners,\n"
        "with the same initial weights and the same batches. (Zhang, Xiang, Hospedales, Lu, \"Deep\n"
        "Mutual Learning\", CVPR 2018; Minami, Hirakawa, Yamashita, Fujiyoshi, \"Knowledge Transfer Graph "
        "for\n"
        "Deep Collaborative Learning\", ACCV 2020.)"};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] { compare(options); });
}
