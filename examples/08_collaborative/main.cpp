// SPDX-License-Identifier: BSL-1.0
/// \file
/// Collaborative teacher-student learning (CTSL-MKT) in its two stages, with its ablations, beside independent
/// training and mutual learning.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <retort/cohort.hpp>
#include <retort/retort.hpp>

#include "../common/image_data.hpp"
#include "../common/program.hpp"
#include "../common/spread.hpp"
#include "../models/residual.hpp"
#include "../models/wide_residual.hpp"

namespace {

using models::ImageOutputs;
using retort::Learner;

struct Options {
    std::string data;
    std::string out = "examples-output/collaborative";
    std::int64_t samples = 0;
    int seeds = 3;
    std::int64_t epochs = 15;
    std::int64_t batch_size = 64;
    double learning_rate = 0.1;
    std::int64_t depth = 0;
    std::int64_t width = 0;
    retort::CollaborativeOptions weights{};
    std::string start = "scratch";
    examples::Machine machine;
};

void describe(CLI::App& app, Options& options) {
    const auto option = [&](const char* name, auto& value, const char* text, const CLI::Validator& valid) {
        app.add_option(name, value, text)->capture_default_str()->check(valid);
    };
    app.add_option(
        "--data", options.data,
        "Folder with CIFAR-100 (binary version), Fashion-MNIST or MNIST (IDX files). Without it, a "
        "built-in data set of letters that draws itself");
    option("--samples", options.samples,
           "Training samples, a tenth of them put aside for validation; 0: all of --data, or 2000 letters",
           examples::zero_or_more());
    option("--seeds", options.seeds, "Runs, each with another seed for weights and order of the samples",
           CLI::Range(1, 1000));
    option("--epochs", options.epochs, "Epochs of each stage", CLI::Range(1, 1000000));
    option("--batch-size", options.batch_size, "Samples in a step", CLI::Range(1, 1000000));
    option("--learning-rate", options.learning_rate, "At the start; falls to 0 along a cosine",
           examples::above_zero());
    option("--depth", options.depth,
           "Depth 6n + 2 of the residual peer; the wide residual one has 2 more. 0: 32 for CIFAR-100, else 8",
           examples::zero_or_more());
    option("--width", options.width,
           "Channels of the residual peer's first stage. 0: 16 for CIFAR-100, else 8",
           examples::zero_or_more());
    option("--self-temperature", options.weights.self_temperature, "Of the self-distillation",
           examples::above_zero());
    option("--mutual-weight", options.weights.mutual_weight, "Of all that comes from the peer",
           examples::zero_or_more());
    option("--self-weight", options.weights.self_weight, "Of what comes from the frozen self",
           examples::zero_or_more());
    option("--start", options.start, "How the peers begin the second stage: scratch, or stage-one",
           CLI::IsMember({"scratch", "stage-one"}));
    app.add_option("--out", options.out, "Folder for the results; files of an earlier run are replaced")
        ->capture_default_str();
    options.machine.add_to(app);
    app.footer(
        "Writes into the folder of --out:\n"
        "  collaborative.dot    the whole graph as a picture: dot -Tsvg collaborative.dot > graph.svg\n"
        "  <way>_<seed>.csv     all that was measured, by epoch");
}

/// The two peers. Both give a pooled feature, between which the relations are.
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

/// Gives one network the parameters and buffers of another of its kind.
void copy_state(const torch::nn::Module& from, torch::nn::Module& to) {
    const torch::NoGradGuard no_grad;
    const auto parameters = from.parameters();
    const auto buffers = from.buffers();
    std::size_t i = 0;
    for (torch::Tensor& each : to.parameters()) each.copy_(parameters[i++]);
    i = 0;
    for (torch::Tensor& each : to.buffers()) each.copy_(buffers[i++]);
}

/// A way to learn, with what came of it: by peer, the test accuracy in percent of each seed after the last
/// epoch.
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
          data_(examples::image_data(options.data, options.samples, 2000)),
          out_(options.out) {
        if (options_.depth == 0) options_.depth = data_.coloured ? 32 : 8;
        if (options_.width == 0) options_.width = data_.coloured ? 16 : 8;
        options_.weights.check();
    }

    void run() {
        retort::detail::write_atomically(out_.file("collaborative.dot"), picture());
        std::printf("%s: %lld samples to learn from, %lld to test.\nOn %s with %d threads.\n\n",
                    data_.name.c_str(), static_cast<long long>(data_.train.size()),
                    static_cast<long long>(data_.test.size()), device_.str().c_str(), at::get_num_threads());
        std::fflush(stdout);
        for (int run = 0; run < options_.seeds; ++run) one_seed(static_cast<std::uint64_t>(run));
        print_table();
    }

  private:
    void one_seed(std::uint64_t seed) {
        // Stage one: both alone. Copies of them are the frozen selves of stage two.
        const Peers alone = make_peers(options_, data_, seed);
        auto independent = retort::independent<2>();
        {
            retort::Cohort cohort{where(), Learner{alone.narrow, optimiser()},
                                  Learner{alone.wide, optimiser()}};
            fit(ways_[0], cohort, independent, seed);
        }
        auto mutual = retort::mutual_learning<2>();
        {
            const Peers peers = begin(alone, seed);
            retort::Cohort cohort{where(), Learner{peers.narrow, optimiser()},
                                  Learner{peers.wide, optimiser()}};
            fit(ways_[1], cohort, mutual, seed);
        }
        for (std::size_t i = 2; i < ways_.size(); ++i) {
            retort::CollaborativeOptions weights = options_.weights;
            if (ways_[i].name == "no-self") weights.self_weight = 0;
            if (ways_[i].name == "no-relations") weights.relation_weight = 0;
            if (ways_[i].name == "no-responses") weights.response_weight = 0;
            const Peers peers = begin(alone, seed);
            retort::Cohort cohort{where(), Learner{peers.narrow, optimiser()},
                                  Learner{peers.wide, optimiser()}, Learner{alone.narrow},
                                  Learner{alone.wide}};
            auto graph = graph_of(weights);
            fit(ways_[i], cohort, graph, seed);
        }
    }

    std::string picture() const {
        retort::GraphDescription words = graph_of(options_.weights).description();
        words.learners = {"residual", "wide residual", "residual, alone", "wide, alone"};
        return retort::graph_dot(words);
    }

    /// The peers as they begin stage two.
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
    retort::WithLearningRate<retort::Sgd, retort::Cosine> optimiser() const {
        return {retort::Sgd{.learning_rate = options_.learning_rate,
                            .momentum = 0.9,
                            .weight_decay = 5e-4,
                            .nesterov = true},
                retort::Cosine{.every = retort::Every::step}};
    }

    template <class Cohort, class Graph>
    void fit(Way& way, Cohort& cohort, Graph& graph, std::uint64_t seed) {
        std::string label = retort::detail::text("seed ", seed + 1, "/", options_.seeds, "  ", way.name);
        label.resize(26, ' ');
        const retort::History& history = cohort.fit(
            graph, data_.shuffled(options_.batch_size, seed), {.epochs = options_.epochs, .report_every = 20},
            retort::Validation{data_.in_order(data_.validation)}, retort::ProgressBar{{.label = label}});
        for (std::size_t i = 0; i < 2; ++i) {
            way.accuracy[i].push_back(
                100 * cohort.evaluate(i, data_.in_order(data_.test), retort::metrics::Accuracy{}).value());
        }
        // After every run, so that a run that is broken off leaves what it has found.
        retort::detail::write_atomically(out_.file(retort::detail::text(way.name, '_', seed, ".csv")),
                                         history.csv());
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
        std::printf("\nPicture and histories: %s\n", out_.path().c_str());
    }

    Options options_;
    at::Device device_;
    examples::ImageData data_;
    examples::OutputFolder out_;
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
        "between samples, and from frozen copies of themselves that were trained alone before. (Sun, Gou, "
        "Yu,\n"
        "Du, Tao, \"Collaborative Teacher-Student Learning via Multiple Knowledge Transfer\", 2021; the "
        "paper's\n"
        "weights are not known: see --help for the defaults.)"};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] { Study(options).run(); });
}
