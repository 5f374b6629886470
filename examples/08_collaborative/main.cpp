// SPDX-License-Identifier: BSL-1.0
/// \file
/// Collaborative teacher-student learning (CTSL-MKT) in its two stages, with its ablations, compared with independent
/// training and mutual learning.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <retort/cohort.hpp>
#include <retort/io/write_file.hpp>
#include <retort/retort.hpp>

#include "../common/image_data.hpp"
#include "../common/program.hpp"
#include "../common/spread.hpp"
#include "../common/study.hpp"
#include "../models/residual.hpp"
#include "../models/wide_residual.hpp"

namespace {

using models::ImageOutputs;
using retort::Learner;

struct Options : examples::StudyOptions {
    std::int64_t depth = 0;
    std::int64_t width = 0;
    retort::CollaborativeOptions weights{};
    std::string start = "scratch";
    examples::RunFolder run;
};

void describe(CLI::App& app, Options& options) {
    options.out = "examples-output/collaborative";
    options.epochs = 15;
    options.add_to(app, "Epochs of each stage");
    const examples::AddOption option{app};
    option("--depth", options.depth,
           "Depth 6n + 2 of the residual peer; the wide residual one has 2 more. 0: 32 for CIFAR-100, else 8",
           examples::zero_or_more());
    option("--width", options.width,
           "Channels of the residual peer's first stage. 0: 16 for CIFAR-100, else 8",
           examples::zero_or_more());
    option("--self-temperature", options.weights.self_temperature, "Temperature of the self-distillation",
           examples::above_zero());
    app.add_flag(
        "--self-t-squared", options.weights.t_squared,
        "Multiply the self-distillation by the square of its temperature, without which its gradients "
        "are that much smaller");
    option("--mutual-weight", options.weights.mutual_weight, "Weight of everything from the peer",
           examples::zero_or_more());
    option("--relation-weight", options.weights.relation_weight,
           "Weight of the relations within that; the usual weights of relational distillation "
           "are 25 (50 for the angles)",
           examples::zero_or_more());
    option("--self-weight", options.weights.self_weight, "Weight of the frozen self",
           examples::zero_or_more());
    option("--start", options.start, "How the peers start the second stage: scratch, or stage-one",
           CLI::IsMember({"scratch", "stage-one"}));
    options.run.add_to(app);
    app.footer(
        "Writes to the folder of --out:\n"
        "  collaborative.dot    the whole graph as an image: dot -Tsvg collaborative.dot > graph.svg\n"
        "  <method>_<seed>.csv     all measurements, by epoch");
}

/// The two peers. Both return a pooled feature, which the relations compare.
struct Peers {
    models::ResidualNet narrow{nullptr};
    models::WideResidualNet wide{nullptr};
};

Peers make_peers(const Options& options, const examples::ImageData& data, std::uint64_t seed) {
    torch::manual_seed(seed);
    const std::int64_t w = options.width;
    Peers peers;
    peers.narrow = models::ResidualNet(models::ResidualOptions{.depth = options.depth,
                                                               .stem = w,
                                                               .stages = {w, 2 * w, 4 * w},
                                                               .classes = data.classes(),
                                                               .channels = data.channels()});
    peers.wide = models::WideResidualNet(models::WideResidualOptions{
        .depth = options.depth + 2, .width = 1, .classes = data.classes(), .channels = data.channels()});
    return peers;
}

/// Copies parameters and buffers to a network of the same type.
void copy_state(const torch::nn::Module& from, torch::nn::Module& to) {
    const torch::NoGradGuard no_grad;
    const auto parameters = from.parameters();
    const auto buffers = from.buffers();
    std::size_t i = 0;
    for (torch::Tensor& each : to.parameters()) each.copy_(parameters[i++]);
    i = 0;
    for (torch::Tensor& each : to.buffers()) each.copy_(buffers[i++]);
}

/// A method and its results: by peer, the test accuracy in percent of each seed after the last epoch.
struct Way {
    std::string name;
    std::string words;
    std::array<std::vector<double>, 2> accuracy{};
};

/// The second stage with these weights.
auto graph_of(const retort::CollaborativeOptions& weights) {
    return retort::collaborative(retort::tap<&ImageOutputs::pooled>, retort::tap<&ImageOutputs::pooled>,
                                 weights);
}

class Study {
  public:
    explicit Study(const Options& options)
        : options_(options),
          device_(options.machine.apply()),
          data_(options.load()),
          out_(options.out),
          stages_(options.run.stages()) {
        if (options_.depth == 0) options_.depth = data_.colored ? 32 : 8;
        if (options_.width == 0) options_.width = data_.colored ? 16 : 8;
        options_.weights.check();
    }

    void run() {
        retort::write_file(out_.file("collaborative.dot"), picture());
        examples::announce(data_, device_);
        for (int run = 0; run < options_.seeds; ++run) one_seed(static_cast<std::uint64_t>(run));
        print_table();
    }

  private:
    void one_seed(std::uint64_t seed) {
        // Stage one: both alone. Their copies are the frozen selves of stage two.
        const Peers alone = make_peers(options_, data_, seed);
        auto independent = retort::independent<2>();
        {
            retort::Cohort cohort{where(), Learner{alone.narrow, options_.optimizer()},
                                  Learner{alone.wide, options_.optimizer()}};
            fit(ways_[0], cohort.along(independent), seed);
        }
        auto mutual = retort::mutual_learning<2>();
        {
            const Peers peers = begin(alone, seed);
            retort::Cohort cohort{where(), Learner{peers.narrow, options_.optimizer()},
                                  Learner{peers.wide, options_.optimizer()}};
            fit(ways_[1], cohort.along(mutual), seed);
        }
        for (std::size_t i = 2; i < ways_.size(); ++i) {
            retort::CollaborativeOptions weights = options_.weights;
            if (ways_[i].name == "no-self") weights.self_weight = 0;
            if (ways_[i].name == "no-relations") weights.relation_weight = 0;
            if (ways_[i].name == "no-responses") weights.response_weight = 0;
            const Peers peers = begin(alone, seed);
            retort::Cohort cohort{where(), Learner{peers.narrow, options_.optimizer()},
                                  Learner{peers.wide, options_.optimizer()}, Learner{alone.narrow},
                                  Learner{alone.wide}};
            fit(ways_[i], cohort.along(graph_of(weights)), seed);
        }
    }

    std::string picture() const {
        retort::GraphDescription words = graph_of(options_.weights).description();
        words.learners = {"residual", "wide residual", "residual, alone", "wide, alone"};
        return retort::graph_dot(words);
    }

    /// The peers at the start of stage two.
    Peers begin(const Peers& alone, std::uint64_t seed) const {
        Peers peers = make_peers(options_, data_, options_.start == "scratch" ? seed : 0);
        if (options_.start != "scratch") {
            peers.narrow->to(device_);
            peers.wide->to(device_);
            copy_state(*alone.narrow, *peers.narrow);
            copy_state(*alone.wide, *peers.wide);
        }
        return peers;
    }

    retort::CohortOptions where() const { return {.device = device_.str()}; }
    template <retort::TrainingRun Run>
    void fit(Way& way, Run run, std::uint64_t seed) {
        const retort::History& history =
            stages_.fit(way.name + '_' + std::to_string(seed), run, data_.shuffled(options_.batch_size, seed),
                        {.epochs = options_.epochs, .report_every = 20},
                        retort::Validation{data_.in_order(data_.validation)},
                        retort::ProgressBar{{.label = options_.label(seed, way.name)}});
        for (std::size_t i = 0; i < 2; ++i) {
            way.accuracy[i].push_back(
                100 * run.evaluate(i, data_.in_order(data_.test), retort::metrics::Accuracy{}).value());
        }
        // After every run, so that an aborted program leaves its results so far.
        retort::write_file(out_.file(way.name + '_' + std::to_string(seed) + ".csv"), history.csv());
    }

    void print_table() const {
        std::printf("\nTest accuracy in percent after the last epoch%s:\n\n%-14s  %-42s  %-14s  %-14s\n",
                    options_.seeds > 1 ? ", mean +- standard deviation over the seeds" : "", "way", "",
                    "residual", "wide residual");
        for (const Way& way : ways_) {
            std::printf("%-14s  %-42s  %-14s  %-14s\n", way.name.c_str(), way.words.c_str(),
                        examples::with_deviation(way.accuracy[0]).c_str(),
                        examples::with_deviation(way.accuracy[1]).c_str());
        }
        std::printf("\nGraph and histories: %s\n", out_.path().c_str());
    }

    Options options_;
    at::Device device_;
    examples::ImageData data_;
    examples::OutputFolder out_;
    retort::Stages stages_;
    std::vector<Way> ways_{{"independent", "labels (stage one)"},
                           {"mutual", "labels, responses"},
                           {"collaborative", "labels, responses, relations, frozen self"},
                           {"no-self", "labels, responses, relations"},
                           {"no-relations", "labels, responses, frozen self"},
                           {"no-responses", "labels, relations, frozen self"}};
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Two different networks learn together: from the labels, from each other's responses and relations\n"
        "between samples, and from frozen copies of themselves trained alone before. (Sun, Gou, "
        "Yu,\n"
        "Du, Tao, \"Collaborative Teacher-Student Learning via Multiple Knowledge Transfer\", 2021; the "
        "paper's\n"
        "weights are unknown: see --help for the defaults.)"};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] { Study(options).run(); });
}
