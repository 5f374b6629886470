// SPDX-License-Identifier: BSL-1.0
/// \file
/// Transfer graphs compared on the same learners with the same batches.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/io/write_file.hpp>
#include <retort/metrics.hpp>
#include <retort/trainer.hpp>

#include "../models/image_network.hpp"
#include "image_data.hpp"
#include "program.hpp"
#include "spread.hpp"
#include "study.hpp"

namespace examples {

using Net = std::shared_ptr<models::ImageNetwork>;

/// Every learner learns from the labels only.
inline retort::GraphDescription all_independent(std::size_t learners) {
    retort::RuntimeGraph<> graph;
    for (std::size_t i = 0; i < learners; ++i) graph.label(i);
    return graph.description();
}

/// The best epoch of each learner, by its validation accuracy.
class BestOfEach {
  public:
    explicit BestOfEach(std::size_t learners) {
        for (std::size_t i = 0; i < learners; ++i) {
            best_.emplace_back(retort::BestModelOptions{.column = "validation_accuracy_" + std::to_string(i),
                                                        .restore = false});
        }
    }
    void on_fit_begin(retort::FitContext& context) {
        for (auto& each : best_) each.on_fit_begin(context);
    }
    void on_epoch_end(retort::FitContext& context) {
        for (auto& each : best_) each.on_epoch_end(context);
    }
    void checkpoint(retort::Archive& archive) {
        for (std::size_t i = 0; i < best_.size(); ++i)
            archive.in(std::to_string(i), [&] { best_[i].checkpoint(archive); });
    }
    const retort::BestModel& of(std::size_t learner) const { return best_[learner]; }

  private:
    std::deque<retort::BestModel> best_;
};

/// A method and its results: by learner, the test accuracy in percent of each seed.
struct Way {
    std::string name;
    retort::GraphDescription words{};  ///< with the names of the networks
    std::vector<std::vector<double>> last{};
    std::vector<std::vector<double>> best{};
};

/// Writes the graph of a method as text and as a Graphviz file.
inline void save_way(const Way& way, const OutputFolder& out) {
    retort::save_graph(way.words, out.file(way.name + ".graph"));
    retort::write_file(out.file(way.name + ".dot"), retort::graph_dot(way.words));
}

struct TrainWay {
    const StudyOptions& options;
    const ImageData& data;
    const at::Device& device;
    const OutputFolder& out;
    retort::Stages& stages;  ///< each run is one
    /// Loads the weights of a frozen learner.
    std::function<void(const std::string& name, models::ImageNetwork&)> know{};
};

/// Trains the learners along a graph, selects the best epoch of each on the validation samples, and only then evaluates
/// on the test samples.
inline void train(Way& way, std::uint64_t seed, const TrainWay& with) {
    // All methods start from the same weights and see the same batches.
    torch::manual_seed(seed);
    const ImageData& data = with.data;
    std::vector<retort::Learner<Net>> learners;
    const std::vector<std::size_t> frozen = retort::frozen_learners(way.words);
    for (std::size_t i = 0; i < way.words.learners.size(); ++i) {
        const std::string& name = way.words.learners[i];
        Net net = models::image_network(name, data.classes(), data.channels());
        if (with.know && std::find(frozen.begin(), frozen.end(), i) != frozen.end()) with.know(name, *net);
        learners.emplace_back(std::move(net), with.options.optimizer());
    }
    retort::Cohort cohort{std::move(learners), {.device = with.device.str()}};
    auto run = cohort.along(retort::GraphCatalog<>().build(way.words));

    const std::string name = way.name + '_' + std::to_string(seed);
    BestOfEach best(cohort.size());
    const retort::History& history =
        with.stages.fit(name, run, data.shuffled(with.options.batch_size, seed),
                        {.epochs = with.options.epochs, .report_every = 20},
                        retort::Validation{data.in_order(data.validation)}, best,
                        retort::ProgressBar{{.label = with.options.label(seed, way.name)}});
    way.last.resize(cohort.size());
    way.best.resize(cohort.size());
    const auto accuracy = [&](std::size_t i) {
        return 100 * cohort.evaluate(i, data.in_order(data.test), retort::metrics::Accuracy{}).value();
    };
    for (std::size_t i = 0; i < cohort.size(); ++i) way.last[i].push_back(accuracy(i));
    for (std::size_t i = 0; i < cohort.size(); ++i) {
        best.of(i).restore(cohort.module());
        way.best[i].push_back(accuracy(i));
    }
    // After every run, so that an aborted program leaves its results so far.
    retort::write_file(with.out.file(name + ".csv"), history.csv());
}

/// The table of all methods, and the difference of each to the first.
/// \param most the maximum number of learners to print
inline void print_table(const std::vector<Way>& ways, int seeds, std::size_t most) {
    const auto& networks = ways[0].words.learners;
    most = std::min(most, networks.size());
    std::printf("\nTest accuracy in percent%s; last epoch, and best epoch (*):\n\n%-16s",
                seeds > 1 ? ", mean +- standard deviation over the seeds" : "", "learner");
    for (const Way& way : ways) std::printf("  %-31s", way.name.c_str());
    std::printf("\n");
    for (std::size_t i = 0; i < most; ++i) {
        std::printf("%-16s", (std::to_string(i) + " " + networks[i]).c_str());
        for (const Way& way : ways) {
            std::printf("  %-14s %-16s", with_deviation(way.last[i]).c_str(),
                        (with_deviation(way.best[i]) + " *").c_str());
        }
        std::printf("\n");
    }
    std::printf("(*) selected on the validation samples\n\n");
    for (std::size_t w = 1; w < ways.size(); ++w) {
        for (std::size_t i = 0; i < most; ++i) {
            std::vector<double> gains;
            for (std::size_t s = 0; s < ways[w].last[i].size(); ++s)
                gains.push_back(ways[w].last[i][s] - ways[0].last[i][s]);
            const Spread gain(gains);
            std::printf("%s changes learner %zu after the last epoch by %+.2f points", ways[w].name.c_str(),
                        i, gain.mean);
            if (seeds > 1) std::printf(" (standard error %.2f)", gain.deviation / std::sqrt(seeds));
            std::printf("\n");
        }
    }
}

}  // namespace examples
