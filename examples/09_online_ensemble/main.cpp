// SPDX-License-Identifier: BSL-1.0
/// \file
/// Networks that learn together without a teacher, compared with the same networks alone: ONE, OKDDip, BOC-KD, Be
/// Your Own Teacher and peers with self-supervision augmented heads.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <retort/cohort.hpp>
#include <retort/io/write_file.hpp>
#include <retort/retort.hpp>

#include "../common/gnuplot.hpp"
#include "../common/spread.hpp"
#include "../common/study.hpp"
#include "networks.hpp"

namespace {

using ensembles::BranchOutputs;
using models::ImageOutputs;
using retort::Learner;
using retort::tap;
using retort::Taps;

constexpr std::size_t students = 3;

struct Options : examples::StudyOptions {
    std::int64_t depth = 0;
    std::int64_t width = 0;
    retort::CompressedStudentsOptions compressed{};
    std::vector<std::string> ways{"independent", "one", "okddip", "bockd", "byot", "hsakd"};
};

void describe(CLI::App& app, Options& options) {
    options.out = "examples-output/online_ensemble";
    options.epochs = 15;
    options.add_to(app, "Epochs of each run");
    const examples::AddOption option{app};
    option("--depth", options.depth, "Depth 6n + 2 of the networks; 0: 32 for CIFAR-100, else 8",
           examples::zero_or_more());
    option("--width", options.width,
           "Channels of the stem and the first stage, at least 4; 0: 16 for CIFAR-100, else 8",
           examples::zero_or_more());
    option("--bockd-label-weight", options.compressed.label_weight, "BOC-KD: weight of the labels",
           examples::zero_or_more());
    option("--bockd-feature-weight", options.compressed.feature_weight,
           "BOC-KD: weight of the features of student 0", examples::zero_or_more());
    option("--bockd-response-weight", options.compressed.response_weight,
           "BOC-KD: weight of the ensemble's logits", examples::zero_or_more());
    app.add_option("--methods", options.ways, "Comma-separated methods to compare")
        ->delimiter(',')
        ->capture_default_str()
        ->check(CLI::IsMember(options.ways));
    app.footer(
        "Methods: independent networks of 3/3, 2/3 and 1/3 of the channels; one (3 branches and a gate); "
        "okddip "
        "(3 peers\n"
        "and a leader); bockd (students of 3/3, 2/3 and 1/3 of the channels after one stem); byot (exits); "
        "hsakd (2\n"
        "peers with augmented heads). All take the same number of steps, of as many samples, with the same "
        "optimizer;\n"
        "hsakd sees each sample in four rotations, so its steps cost four times as much.\n"
        "Writes to the folder of --out:\n"
        "  <method>_<seed>.csv     all measurements, by epoch\n"
        "  results.csv          the table printed at the end\n"
        "  curves.csv, .gp, .svg  validation accuracy by epoch; the plot if gnuplot is installed\n"
        "  checkpoints/         rerun the same command to resume an interrupted run; remove it to start "
        "anew");
}

/// A classifier that results from training, usable afterwards.
struct Answer {
    std::string name;
    std::int64_t parameters = 0;  ///< of this classifier
    std::vector<double> last{};   ///< test accuracy in percent of each seed: at the last epoch,
    std::vector<double> best{};   ///< and at the epoch of the best validation accuracy
};

// The columns of the histories.
std::string validation_of(const Answer& answer) { return answer.name + ": validation"; }
std::string test_of(const Answer& answer) { return answer.name + ": test"; }

/// A method and its results.
struct Way {
    std::string name;
    std::vector<Answer> answers{};
    std::vector<retort::History> histories{};
    std::vector<double> samples_per_second{};
};

/// The logits of all classifiers.
using Read = std::function<std::vector<at::Tensor>(const at::Tensor&)>;

/// Evaluates all classifiers at the end of every epoch on the validation samples; also on the test samples after the
/// last epoch, and whenever a classifier improves on the validation samples.
class Measure {
  public:
    Measure(const Way& way, Read read, const examples::ImageData& data)
        : way_(way), read_(std::move(read)), data_(data) {}

    void on_fit_begin(retort::FitContext& context) {
        for (const Answer& each : way_.answers) {
            context.claim(validation_of(each));
            context.claim(test_of(each));
        }
    }
    void on_epoch_end(retort::FitContext& context) {
        retort::History& history = context.history;
        const std::vector<double> validation = accuracies(context.student, data_.validation);
        bool test = context.progress.epoch + 1 == context.progress.epochs;
        for (std::size_t i = 0; i < way_.answers.size(); ++i) {
            const std::string column = validation_of(way_.answers[i]);
            double before = -1;
            for (std::size_t row = 0; row + 1 < history.size(); ++row)
                before = std::max(before, history.at(row, column));
            test = test || validation[i] > before;
            history.set(column, validation[i]);
        }
        if (!test) return;
        const std::vector<double> found = accuracies(context.student, data_.test);
        for (std::size_t i = 0; i < way_.answers.size(); ++i) history.set(test_of(way_.answers[i]), found[i]);
    }

  private:
    std::vector<double> accuracies(torch::nn::Module& module, const retort::data::Dataset& dataset) const {
        const torch::NoGradGuard no_grad;
        const retort::EvalMode eval(module);
        const at::Device device = module.parameters().front().device();
        std::vector<retort::metrics::Accuracy> result(way_.answers.size());
        for (auto& each : data_.in_order(dataset)(0)) {
            const auto batch = retort::to_device(each, device);
            const std::vector<at::Tensor> logits = read_(batch.input);
            for (std::size_t i = 0; i < result.size(); ++i) result[i].update(logits.at(i), batch.target);
        }
        std::vector<double> values;
        for (const auto& each : result) values.push_back(each.value());
        return values;
    }

    const Way& way_;
    Read read_;
    const examples::ImageData& data_;
};

class Study {
  public:
    explicit Study(const Options& options)
        : options_(options),
          device_(options.machine.apply()),
          data_(options.load()),
          out_(options.out),
          stages_(out_.path() / "checkpoints", {.keep = 1}) {
        if (options_.depth == 0) options_.depth = data_.colored ? 32 : 8;
        if (options_.width == 0) options_.width = data_.colored ? 16 : 8;
        if (options_.width < 4) throw retort::ConfigError("--width: expected at least 4 channels");
        models::ResidualNet{residual()};  // rejects invalid depths
        for (const std::string& name : options_.ways) ways_.push_back({.name = name});
    }

    void run() {
        examples::announce(data_, device_);
        for (int seed = 0; seed < options_.seeds; ++seed) {
            for (Way& way : ways_) one_run(way, static_cast<std::uint64_t>(seed));
        }
        print_table();
        draw_curves();
        std::printf("\nHistories, table and curves: %s\n", out_.path().c_str());
    }

  private:
    /// The network of all methods, or with as many channels as student j of BOC-KD.
    models::ResidualOptions residual(std::size_t student = 0) const {
        const auto kept = [&](std::int64_t channels) {
            return retort::compressed_channels(channels, static_cast<std::int64_t>(student), students);
        };
        const std::int64_t w = options_.width;
        return {.depth = options_.depth,
                .stem = w,
                .stages = {kept(w), kept(2 * w), kept(4 * w)},
                .classes = data_.classes(),
                .channels = data_.channels()};
    }
    std::int64_t parameters_of(std::size_t student = 0) const {
        const torch::NoGradGuard no_grad;
        return models::parameter_count(*models::ResidualNet(residual(student)));
    }

    auto plain(std::uint64_t seed) const { return data_.shuffled(options_.batch_size, seed); }

    void one_run(Way& way, std::uint64_t seed) {
        // Networks that are created only to count parameters draw their random numbers before the seed is set.
        std::array<std::int64_t, students> sizes{};
        for (std::size_t j = 0; j < students; ++j) sizes[j] = parameters_of(j);
        torch::manual_seed(seed);
        const std::int64_t whole = sizes[0];
        if (way.name == "independent") independent(way, seed, sizes);
        if (way.name == "one") {
            ensembles::GatedBranches net(residual(), students);
            way_of(way, {{"branch 0", whole}, {"ensemble", models::parameter_count(*net)}});
            retort::Cohort cohort{where(), Learner{net, options_.optimizer()}};
            auto graph = retort::native_ensemble(
                Taps{tap<&BranchOutputs::branches, 0>, tap<&BranchOutputs::branches, 1>,
                     tap<&BranchOutputs::branches, 2>},
                tap<&BranchOutputs::ensemble>, {.ramp = {.epochs = ramp()}});
            fit(way, cohort.along(graph), plain(seed), seed, [net](const at::Tensor& x) mutable {
                const auto outputs = net->forward(x);
                return std::vector{outputs.logits, outputs.ensemble};
            });
        }
        if (way.name == "okddip") {
            ensembles::PeerBranches net(residual(), students);
            way_of(way, {{"leader", whole}, {"mean of peers", models::parameter_count(*net)}});
            retort::Cohort cohort{where(), Learner{net, options_.optimizer()}};
            auto graph = retort::diverse_peers(
                Taps{tap<&BranchOutputs::branches, 0>, tap<&BranchOutputs::branches, 1>,
                     tap<&BranchOutputs::branches, 2>},
                Taps{tap<&BranchOutputs::groups, 0>, tap<&BranchOutputs::groups, 1>,
                     tap<&BranchOutputs::groups, 2>},
                tap<&BranchOutputs::logits>, tap<&BranchOutputs::ensemble>, {.ramp = {.epochs = ramp()}});
            fit(way, cohort.along(graph), plain(seed), seed, [net](const at::Tensor& x) mutable {
                const auto outputs = net->forward(x);
                return std::vector{outputs.logits, outputs.ensemble};
            });
        }
        if (way.name == "bockd") {
            std::vector<ensembles::Body> bodies;
            for (std::size_t j = 0; j < students; ++j) bodies.emplace_back(residual(j));
            const auto net = retort::stem_ensemble(ensembles::make_stem(residual()), bodies);
            way_of(way, {{"student 0", sizes[0]},
                         {"student 1", sizes[1]},
                         {"student 2", sizes[2]},
                         {"ensemble", models::parameter_count(*net)}});
            retort::Cohort cohort{where(), Learner{net, options_.optimizer()}};
            auto graph = retort::compressed_students<students>(
                Taps{tap<&ImageOutputs::stages, 0>, tap<&ImageOutputs::stages, 1>,
                     tap<&ImageOutputs::stages, 2>},
                options_.compressed);
            fit(way, cohort.along(graph), plain(seed), seed, [net](const at::Tensor& x) {
                const auto outputs = net->forward(x);
                std::vector<at::Tensor> result;
                for (const auto& each : outputs.students) result.push_back(each.logits);
                result.push_back(outputs.logits);
                return result;
            });
        }
        if (way.name == "byot") {
            ensembles::ExitNet net(residual());
            way_of(way, {{"last exit", whole}});
            retort::Cohort cohort{where(), Learner{net, options_.optimizer()}};
            using ensembles::ExitOutputs;
            auto graph = retort::be_your_own_teacher(
                Taps{tap<&ExitOutputs::exits, 0>, tap<&ExitOutputs::exits, 1>}, tap<&ExitOutputs::logits>,
                Taps{tap<&ExitOutputs::features, 0>, tap<&ExitOutputs::features, 1>},
                tap<&ExitOutputs::feature>);
            fit(way, cohort.along(graph), plain(seed), seed,
                [net](const at::Tensor& x) mutable { return std::vector{net->forward(x).logits}; });
        }
        if (way.name == "hsakd") {
            const auto peer = [&] {
                const models::ResidualNet net(residual());
                return retort::augmented(net,
                                         Taps{tap<&ImageOutputs::stages, 0>, tap<&ImageOutputs::stages, 1>,
                                              tap<&ImageOutputs::stages, 2>},
                                         models::residual_heads(residual(), 4 * data_.classes()));
            };
            const auto first = peer(), second = peer();
            way_of(way, {{"peer 0", whole}, {"peer 1", whole}});
            retort::Cohort cohort{where(), Learner{first, options_.optimizer()},
                                  Learner{second, options_.optimizer()}};
            auto graph = retort::augmented_peers();
            // The networks alone: the heads are not used afterwards.
            const auto a = first->network(), b = second->network();
            fit(way, cohort.along(graph), data_.rotated(options_.batch_size, seed), seed,
                [a, b](const at::Tensor& x) {
                    return std::vector{a->forward(x).logits, b->forward(x).logits};
                });
        }
    }

    void independent(Way& way, std::uint64_t seed, const std::array<std::int64_t, students>& sizes) {
        std::vector<models::ResidualNet> nets;
        std::vector<Learner<models::ResidualNet>> learners;
        std::vector<Answer> answers;
        std::int64_t all = 0;
        for (std::size_t j = 0; j < students; ++j) {
            nets.emplace_back(residual(j));
            learners.emplace_back(nets.back(), options_.optimizer());
            answers.push_back({"student " + std::to_string(j), sizes[j]});
            all += sizes[j];
        }
        answers.push_back({"mean of all", all});
        way_of(way, std::move(answers));
        retort::Cohort cohort{std::move(learners), where()};
        auto graph = retort::RuntimeGraph<ImageOutputs>();
        for (std::size_t j = 0; j < students; ++j) graph.label(j);
        fit(way, cohort.along(graph), plain(seed), seed, [nets](const at::Tensor& x) mutable {
            std::vector<at::Tensor> result;
            for (auto& each : nets) result.push_back(each->forward(x).logits);
            result.push_back(at::stack(result).mean(0));
            return result;
        });
    }

    static void way_of(Way& way, std::vector<Answer> answers) {
        if (way.answers.empty()) way.answers = std::move(answers);
    }
    retort::CohortOptions where() const { return {.device = device_.str()}; }
    /// ONE and OKDDip ramp up their ensemble over the first 80 of 300 epochs.
    double ramp() const { return static_cast<double>(options_.epochs) * 80 / 300; }

    template <retort::TrainingRun Run, class Source>
    void fit(Way& way, Run run, const Source& source, std::uint64_t seed, Read read) {
        Measure measure(way, std::move(read), data_);
        // Runs of different length have different learning rates.
        const std::string name =
            way.name + '_' + std::to_string(seed) + "_of_" + std::to_string(options_.epochs) + "_epochs";
        const retort::History& history =
            stages_.fit(name, run, source, {.epochs = options_.epochs, .report_every = 20}, measure,
                        retort::ProgressBar{{.label = options_.label(seed, way.name)}});
        double seconds = 0, samples = 0;
        for (std::size_t row = 0; row < history.size(); ++row) {
            seconds += history.at(row, "seconds");
            samples += history.at(row, "samples");
        }
        way.samples_per_second.push_back(samples / seconds);
        for (Answer& each : way.answers) {
            const std::string test = test_of(each);
            std::size_t best = 0;
            for (std::size_t row = 1; row < history.size(); ++row) {
                const std::string column = validation_of(each);
                if (history.at(row, column) > history.at(best, column)) best = row;
            }
            each.last.push_back(100 * history.last(test));
            each.best.push_back(100 * history.at(best, test));
        }
        // After every run, so that an aborted program leaves its results so far.
        retort::write_file(out_.file(way.name + '_' + std::to_string(seed) + ".csv"), history.csv());
        way.histories.push_back(history);
    }

    void print_table() const {
        std::printf("\nTest accuracy in percent%s; training samples per second:\n\n",
                    options_.seeds > 1 ? ", mean +- standard deviation over the seeds" : "");
        std::printf("%-12s %-14s %10s  %-15s %-17s %s\n", "method", "classifier", "parameters", "last epoch",
                    "best epoch (*)", "samples/s");
        std::ostringstream csv;
        csv << "method,classifier,parameters,last,last deviation,best,best deviation,samples per second\n";
        for (const Way& way : ways_) {
            const examples::Spread speed(way.samples_per_second);
            for (const Answer& each : way.answers) {
                std::printf("%-12s %-14s %10lld  %-15s %-17s %.0f\n", way.name.c_str(), each.name.c_str(),
                            static_cast<long long>(each.parameters),
                            examples::with_deviation(each.last).c_str(),
                            examples::with_deviation(each.best).c_str(), speed.mean);
                const examples::Spread last(each.last), best(each.best);
                csv << way.name << ',' << each.name << ',' << each.parameters << ',' << last.mean << ','
                    << last.deviation << ',' << best.mean << ',' << best.deviation << ',' << speed.mean
                    << '\n';
            }
        }
        std::printf("(*) selected on the validation samples\n\n");
        retort::write_file(out_.file("results.csv"), csv.str());
        print_gains();
    }

    /// Compared with the independent network of the same architecture, seed by seed.
    void print_gains() const {
        const auto alone = std::find_if(ways_.begin(), ways_.end(),
                                        [](const Way& way) { return way.name == "independent"; });
        if (alone == ways_.end()) return;
        for (const Way& way : ways_) {
            if (way.name == "independent") continue;
            for (const Answer& each : way.answers) {
                for (std::size_t j = 0; j < students; ++j) {
                    const Answer& same = alone->answers[j];
                    if (same.parameters != each.parameters) continue;
                    std::vector<double> gains;
                    for (std::size_t s = 0; s < each.last.size(); ++s)
                        gains.push_back(each.last[s] - same.last[s]);
                    const examples::Spread gain(gains);
                    std::printf("%s, %s: %+.2f points over the same network alone, last epoch",
                                way.name.c_str(), each.name.c_str(), gain.mean);
                    if (options_.seeds > 1)
                        std::printf(" (standard error %.2f)", gain.deviation / std::sqrt(options_.seeds));
                    std::printf("\n");
                }
            }
        }
    }

    /// The validation accuracy of the first classifier of each method, mean over the seeds.
    void draw_curves() const {
        std::ostringstream table, script;
        table << "epoch";
        for (const Way& way : ways_) table << ',' << way.name << ", " << way.answers[0].name;
        table << '\n';
        for (std::int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
            table << epoch + 1;
            for (const Way& way : ways_) {
                std::vector<double> values;
                for (const retort::History& history : way.histories)
                    values.push_back(
                        100 * history.at(static_cast<std::size_t>(epoch), validation_of(way.answers[0])));
                table << ',' << examples::Spread(values).mean;
            }
            table << '\n';
        }
        script << "# gnuplot curves.gp\n"
                  "if (!exists(\"folder\")) folder = \".\"\n"
                  "if (!exists(\"picture\")) picture = folder . \"/curves.svg\"\n"
                  "set terminal svg size 900,560 background \"white\" font \"sans-serif,16\"\n"
                  "set output picture\n"
                  "set datafile separator \",\"\n"
                  "set title \"Validation accuracy, mean over the seeds\"\n"
                  "set xlabel \"epoch\"\nset ylabel \"accuracy (%)\"\n"
                  "set key bottom right\nset grid back linecolor rgb \"#dddddd\"\nset border 3\nset tics "
                  "nomirror\n"
                  "set offsets 0.5, 0.5, 1, 1\n"
                  "table = folder . \"/curves.csv\"\nplot ";
        for (std::size_t i = 0; i < ways_.size(); ++i) {
            script << (i > 0 ? ", \\\n     " : "") << "table using 1:" << i + 2
                   << " skip 1 with linespoints pt 7 ps 0.5 lw 2 title \"" << ways_[i].name << ", "
                   << ways_[i].answers[0].name << '"';
        }
        script << '\n';
        retort::write_file(out_.file("curves.csv"), table.str());
        retort::write_file(out_.file("curves.gp"), script.str());
        if (!examples::draw(out_.path(), "curves")) std::printf("\n(no plot: gnuplot is not installed)\n");
    }

    Options options_;
    at::Device device_;
    examples::ImageData data_;
    examples::OutputFolder out_;
    retort::Stages stages_;
    std::vector<Way> ways_;
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Networks that learn together without a teacher, compared with the same networks alone: ONE (Zhu, "
        "Gong, "
        "NeurIPS\n"
        "2018), OKDDip (Chen et al., AAAI 2020), BOC-KD (Walawalkar, Shen, Savvides, ECCV 2020), Be Your Own "
        "Teacher\n"
        "(Zhang et al., ICCV 2019) and peers with self-supervision augmented heads (Yang et al., IJCAI "
        "2021)."};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] { Study(options).run(); });
}
