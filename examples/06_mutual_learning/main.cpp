// SPDX-License-Identifier: BSL-1.0
/// \file
/// The same learners independently, in deep mutual learning, and along a knowledge transfer graph; compared over
/// seeds.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/cohort.hpp>
#include <retort/retort.hpp>

#include "../common/image_data.hpp"
#include "../common/program.hpp"
#include "../common/spread.hpp"
#include "../common/study.hpp"
#include "../models/image_network.hpp"

namespace {

using Net = std::shared_ptr<models::ImageNetwork>;
using Graph = retort::RuntimeGraph<>;

struct Options : examples::StudyOptions {
    std::string graph;
    std::vector<std::string> networks;
};

void describe(CLI::App& app, Options& options) {
    options.out = "examples-output/mutual_learning";
    options.add_to(app, "Epochs of each run");
    app.add_option("--networks", options.networks,
                   "The learners: cnn<width>, resnet<depth>, wrn<depth>-<width>; at least two. Default: cnn8 "
                   "cnn8 cnn16, or resnet32 resnet32 resnet110 for CIFAR-100")
        ->delimiter(',');
    app.add_option(
        "--graph", options.graph,
        "File with the graph to compare with. Default: the first learner learns from the last what "
        "the last gets right, and teaches the others more as time goes by");
    app.footer(
        "Writes into the folder of --out, for independent, mutual and graph:\n"
        "  <name>.graph         the graph as text, for --graph\n"
        "  <name>.dot           the graph as a picture: dot -Tsvg graph.dot > graph.svg\n"
        "  <name>_<seed>.csv    all that was measured, by epoch");
}

/// A graph that is neither: all learn from the labels; the first one from the last where that is right, the
/// others from the first, more and more.
Graph example_graph(std::size_t learners) {
    const retort::SoftTarget transfer{.temperature = 1.0};
    Graph graph;
    for (std::size_t i = 0; i < learners; ++i) graph.label(i);
    graph.edge(learners - 1, 0, transfer, retort::gate::Correct{});
    for (std::size_t i = 1; i < learners; ++i) graph.edge(0, i, transfer, retort::gate::Linear{});
    return graph;
}

Graph all_independent(std::size_t learners) {
    Graph graph;
    for (std::size_t i = 0; i < learners; ++i) graph.label(i);
    return graph;
}

/// A way to learn, with what came of it: by learner, the test accuracy in percent of each seed.
struct Way {
    std::string name;
    retort::GraphDescription words{};
    std::vector<std::vector<double>> last{};
    std::vector<std::vector<double>> best{};
};

/// Trains the learners along a graph, chooses the best epoch of each on the validation samples, and only then
/// looks at the test samples.
void train(Way& way, const examples::ImageData& data, const Options& options, const at::Device& device,
           std::uint64_t seed, const examples::OutputFolder& out) {
    // All ways begin with the same weights and see the same batches.
    torch::manual_seed(seed);
    std::vector<retort::Learner<Net>> learners;
    for (const std::string& name : options.networks)
        learners.emplace_back(models::image_network(name, data.classes(), data.channels()),
                              options.optimiser());
    retort::Cohort cohort{std::move(learners), {.device = device.str()}};
    Graph graph = retort::GraphCatalogue<>().build(way.words);

    std::deque<retort::BestModel> best;
    for (std::size_t i = 0; i < cohort.size(); ++i)
        best.emplace_back(retort::BestModelOptions{.column = retort::detail::text("validation_accuracy_", i),
                                                   .restore = false});
    const retort::History& history = cohort.fit(
        graph, data.shuffled(options.batch_size, seed), {.epochs = options.epochs, .report_every = 20},
        retort::Validation{data.in_order(data.validation)},
        retort::on_fit_begin([&](retort::FitContext& context) {
            for (auto& each : best) each.on_fit_begin(context);
        }),
        retort::on_epoch_end([&](retort::FitContext& context) {
            for (auto& each : best) each.on_epoch_end(context);
        }),
        retort::ProgressBar{{.label = options.label(seed, way.name)}});
    way.last.resize(cohort.size());
    way.best.resize(cohort.size());
    const auto accuracy = [&](std::size_t i) {
        return 100 * cohort.evaluate(i, data.in_order(data.test), retort::metrics::Accuracy{}).value();
    };
    for (std::size_t i = 0; i < cohort.size(); ++i) way.last[i].push_back(accuracy(i));
    for (std::size_t i = 0; i < cohort.size(); ++i) {
        best[i].restore(cohort.module());
        way.best[i].push_back(accuracy(i));
    }
    // After every run, so that a run that is broken off leaves what it has found.
    retort::detail::write_atomically(out.file(retort::detail::text(way.name, '_', seed, ".csv")),
                                     history.csv());
}

void print_table(const std::vector<Way>& ways, const Options& options) {
    std::printf("\nTest accuracy in percent%s; last epoch, and best epoch (*):\n\n%-16s",
                options.seeds > 1 ? ", mean +- standard deviation over the seeds" : "", "learner");
    for (const Way& way : ways) std::printf("  %-31s", way.name.c_str());
    std::printf("\n");
    for (std::size_t i = 0; i < options.networks.size(); ++i) {
        std::printf("%-16s", retort::detail::text(i, " ", options.networks[i]).c_str());
        for (const Way& way : ways) {
            std::printf("  %-14s %-16s", examples::with_deviation(way.last[i]).c_str(),
                        (examples::with_deviation(way.best[i]) + " *").c_str());
        }
        std::printf("\n");
    }
    std::printf("(*) chosen on the validation samples\n\n");
    for (std::size_t w = 1; w < ways.size(); ++w) {
        for (std::size_t i = 0; i < options.networks.size(); ++i) {
            std::vector<double> gains;
            for (std::size_t s = 0; s < ways[w].last[i].size(); ++s)
                gains.push_back(ways[w].last[i][s] - ways[0].last[i][s]);
            const examples::Spread gain(gains);
            std::printf("%s changes learner %zu after the last epoch by %+.2f points", ways[w].name.c_str(),
                        i, gain.mean);
            if (options.seeds > 1)
                std::printf(" (standard error %.2f)", gain.deviation / std::sqrt(options.seeds));
            std::printf("\n");
        }
    }
}

void compare(Options options) {
    const at::Device device = options.machine.apply();
    const examples::ImageData data = options.load();
    if (options.networks.empty()) {
        options.networks = data.coloured ? std::vector<std::string>{"resnet32", "resnet32", "resnet110"}
                                         : std::vector<std::string>{"cnn8", "cnn8", "cnn16"};
    }
    const std::size_t count = options.networks.size();
    if (count < 2) throw retort::ConfigError("--networks: expected at least two learners, found one");
    for (const std::string& name : options.networks)
        models::image_network(name, data.classes(), data.channels());  // refuses what is not one
    const examples::OutputFolder out(options.out);

    std::vector<Way> ways{{"independent", all_independent(count).description()},
                          {"mutual", retort::mutual_learning(count).description()},
                          {"graph", options.graph.empty() ? example_graph(count).description()
                                                          : retort::load_graph(options.graph)}};
    for (Way& way : ways) {
        if (!way.words.learners.empty() && way.words.learners.size() != count) {
            throw retort::ConfigError(retort::detail::text("--graph: expected a graph of ", count,
                                                           " learners, found ", way.words.learners.size()));
        }
        way.words.learners = options.networks;
        retort::save_graph(way.words, out.file(way.name + ".graph"));
        retort::detail::write_atomically(out.file(way.name + ".dot"), retort::graph_dot(way.words));
    }
    examples::announce(data, device);
    for (int seed = 0; seed < options.seeds; ++seed) {
        for (Way& way : ways) train(way, data, options, device, static_cast<std::uint64_t>(seed), out);
    }
    print_table(ways, options);
    std::printf("\nGraphs and histories: %s\n", out.path().c_str());
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Deep mutual learning and a knowledge transfer graph beside independent training: the same "
        "learners,\n"
        "with the same weights to start from and the same batches. (Zhang, Xiang, Hospedales, Lu, \"Deep\n"
        "Mutual Learning\", CVPR 2018; Minami, Hirakawa, Yamashita, Fujiyoshi, \"Knowledge Transfer Graph "
        "for\n"
        "Deep Collaborative Learning\", ACCV 2020.)"};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] { compare(options); });
}
