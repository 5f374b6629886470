// SPDX-License-Identifier: BSL-1.0
/// \file
/// Searches the transfer graph from which one learner learns best, with several processes on one study; then trains
/// the best graph longer, compared with independent training and mutual learning.
#include <torch/torch.h>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <retort/cohort.hpp>
#include <retort/io.hpp>
#include <retort/retort.hpp>
#include <retort/search.hpp>

#include "../common/gnuplot.hpp"
#include "../common/study.hpp"
#include "../common/ways.hpp"
#include "picture.hpp"

namespace {

namespace fs = std::filesystem;
using examples::Net;
using examples::Way;
using retort::search::TrialState;

struct Options : examples::StudyOptions {
    retort::GraphSpaceOptions space{.learners = 3};
    std::string study{};
    std::int64_t trials = 60;
    std::int64_t search_epochs = 8;
    retort::search::SuccessiveHalving halving{};
    std::uint64_t search_seed = 0;
    std::string select = "validation";
    std::size_t best = 3;
    int workers = 1;
    bool join = false;
};

void describe(CLI::App& app, Options& options) {
    options.out = "examples-output/transfer_graph";
    options.epochs = 16;
    const examples::AddOption option{app};
    const auto list = [&](const char* name, std::vector<std::string>& value, const char* words) {
        app.add_option(name, value, words)->delimiter(',')->capture_default_str();
    };
    app.add_option("--study", options.study,
                   "File of the search; rerun the same command to resume it. Default: search.study in --out");
    option("--trials", options.trials, "Graphs to try, over all runs on this study",
           CLI::Range(1, 100000000));
    option("--workers", options.workers,
           "Processes for the search; 1: only this one. More may join at any time with --join",
           CLI::Range(1, 1000));
    app.add_flag("--join", options.join, "Only join the search, until all its trials have ended");
    option("--learners", options.space.learners, "Learners of a graph; the first is the target",
           CLI::Range(1, 20));
    app.add_option(
        "--target", options.space.target,
        "The first learner: cnn<width>, resnet<depth> or wrn<depth>-<width>. Default: cnn8, or resnet32 "
        "for CIFAR-100");
    list("--architectures", options.space.architectures,
         "Candidates for the other learners. Default: cnn8 cnn16, or resnet32 resnet110 wrn28-2 for "
         "CIFAR-100");
    list("--gates", options.space.gates, "Candidate gates of edges between learners, as in a graph file");
    list("--label-gates", options.space.label_gates, "Candidate gates of edges from the labels");
    option("--search-epochs", options.search_epochs, "Epochs of a trial that is not pruned",
           CLI::Range(1, 1000000));
    option("--first-rung", options.halving.minimum,
           "Trials are compared after so many epochs, twice as many, four times, ...; the better half "
           "continues",
           CLI::Range(1, 1000000));
    option("--search-seed", options.search_seed, "Determines which graphs are tried, and their seeds",
           examples::zero_or_more());
    option("--select", options.select,
           "The samples that graphs are scored on: validation, or test-as-released as in the authors' code, "
           "which "
           "biases the test accuracy of the graph found upward",
           CLI::IsMember({"validation", "test-as-released"}));
    option("--best", options.best, "How many of the best graphs to write", CLI::Range(1, 1000));
    options.add_to(app, "Epochs of each run after the search, and of frozen teachers before it");
    app.footer(
        "Writes to the folder of --out:\n"
        "  best_<n>.graph, .dot          the best graphs as text (for examples/06_mutual_learning --graph) "
        "and as\n"
        "                                images: dot -Tsvg best_1.dot > best_1.svg\n"
        "  search.svg                    the search: trials with the best so far, and rungs; drawn by "
        "gnuplot from\n"
        "                                trials.csv, decisions.csv and search.gp\n"
        "  <method>.graph, .dot             independent, mutual and the best graph\n"
        "  <method>_<seed>.csv              all measurements, by epoch\n"
        "Next to the study: .locks, the running trials; .trials, checkpoints of trials; .teachers, weights "
        "of "
        "frozen\n"
        "teachers; .runs, checkpoints of the runs after the search. Every process may be killed at any "
        "time.");
}

/// The search, as run by each of the processes.
class Search {
  public:
    Search(const Options& options, const examples::ImageData& data, at::Device device)
        : options_(options), data_(data), device_(device), graphs_(options.space) {
        for (const std::string& name : options.space.architectures)
            models::image_network(name, data.classes(), data.channels());  // rejects invalid names
        models::image_network(options.space.target, data.classes(), data.channels());
        build_all_gates();
        study_.emplace(options.study, study_options());
    }

    const retort::GraphSpace& graphs() const { return graphs_; }

    retort::search::StudyRecord run() {
        const auto record =
            study_->run([&](retort::search::Trial& trial) { return objective(trial); },
                        {.trials = options_.trials,
                         .on_end = [&](const retort::search::TrialRecord& trial) { say(trial); }});
        std::error_code ignored;
        fs::remove_all(beside("trials"), ignored);
        return record;
    }

    /// Loads the weights of independent training into a network that only teaches. The first process that needs them
    /// trains them; concurrent ones compute the same weights.
    /// \param checkpoints a folder of the caller, so that a process killed meanwhile does not lose its training
    void know(const std::string& name, models::ImageNetwork& network, const fs::path& checkpoints) const {
        const fs::path file = beside("teachers") / (name + ".pt");
        if (!fs::exists(file)) {
            fs::create_directories(file.parent_path());
            // The state of the caller's random generator is left unchanged.
            at::Generator generator = at::detail::getDefaultCPUGenerator();
            const at::Tensor before = generator.get_state();
            torch::manual_seed(options_.search_seed);
            const Net teacher = models::image_network(name, data_.classes(), data_.channels());
            std::vector<retort::Learner<Net>> learners;
            learners.emplace_back(teacher, options_.optimizer());
            retort::Cohort cohort{std::move(learners), {.device = device_.str()}};
            auto graph = retort::GraphCatalog<>().build(examples::all_independent(1));
            cohort.along(graph).fit(
                data_.shuffled(options_.batch_size, options_.search_seed),
                {.epochs = options_.epochs, .report_every = 20},
                retort::Checkpoint{checkpoints / ("teacher-" + name), {.keep = 1, .signals = false}});
            retort::write_weights(file, retort::state_dict(*teacher));
            generator.set_state(before);
        }
        retort::load_state_dict(network, retort::read_weights(file));
    }
    fs::path beside(const char* what) const { return options_.study + "." + what; }

  private:
    fs::path files_of(std::int64_t trial) const { return beside("trials") / std::to_string(trial); }
    retort::search::StudyOptions study_options() const {
        std::ostringstream rate;
        rate << options_.learning_rate;
        return {.space = graphs_.space(),
                .pruning = options_.halving,
                .seed = options_.search_seed,
                .settings = {{"value", "error of learner 0 in percent, on " + options_.select},
                             {"target", options_.space.target},
                             {"data", data_.name},
                             {"training samples", std::to_string(data_.train.size())},
                             {"validation samples", std::to_string(data_.validation.size())},
                             {"epochs", std::to_string(options_.search_epochs)},
                             {"epochs of frozen teachers", std::to_string(options_.epochs)},
                             {"batch size", std::to_string(options_.batch_size)},
                             {"learning rate", rate.str()}}};
    }
    /// Rejects unknown gates before the first trial.
    void build_all_gates() const {
        std::size_t most = 0;
        for (const auto& variable : graphs_.space().variables())
            most = std::max(most, variable.choices.size());
        for (std::size_t i = 0; i < most; ++i) {
            retort::search::Point point;
            for (const auto& variable : graphs_.space().variables())
                point.push_back(std::min(i, variable.choices.size() - 1));
            retort::GraphCatalog<>().build(graphs_.graph(point));
        }
    }

    double objective(retort::search::Trial& trial) {
        // Learners without a path to the first one do not affect it.
        const retort::GraphDescription words = retort::towards(graphs_.graph(trial.point()), 0);
        std::vector<bool> asked(words.learners.size(), false);
        asked[0] = true;
        for (const auto& edge : words.edges) {
            if (edge.from && !retort::cut_off(edge)) asked[*edge.from] = true;
        }
        torch::manual_seed(trial.seed());
        const std::vector<std::size_t> frozen = retort::frozen_learners(words);
        std::vector<retort::Learner<Net>> learners;
        for (std::size_t i = 0; i < words.learners.size(); ++i) {
            Net net = models::image_network(words.learners[i], data_.classes(), data_.channels());
            if (asked[i] && std::find(frozen.begin(), frozen.end(), i) != frozen.end())
                know(words.learners[i], *net, files_of(trial.number()));
            learners.emplace_back(std::move(net), options_.optimizer());
        }
        retort::Cohort cohort{std::move(learners), {.device = device_.str()}};
        auto graph = retort::GraphCatalog<>().build(words);
        const auto& judges = options_.select == "validation" ? data_.validation : data_.test;
        cohort.along(graph).fit(
            data_.shuffled(options_.batch_size, trial.seed()),
            {.epochs = options_.search_epochs, .report_every = 20},
            retort::on_epoch_end([&](retort::FitContext& context) {
                const double right =
                    cohort.evaluate(0, data_.in_order(judges), retort::metrics::Accuracy{}).value();
                return trial.report(context.progress.epoch + 1, 100 * (1 - right));
            }),
            // A trial taken over from another process resumes where it was.
            retort::Checkpoint{files_of(trial.number()) / "run", {.keep = 1, .signals = false}});
        return trial.last().value();
    }
    void say(const retort::search::TrialRecord& trial) const {
        std::error_code ignored;
        fs::remove_all(files_of(trial.number), ignored);
        const std::string name = "trial " + std::to_string(trial.number) + "  ";
        if (trial.state == TrialState::failed) {
            std::printf("%sfailed: %s\n", name.c_str(), trial.reason.c_str());
        } else {
            std::printf("%s%s after epoch %lld, error %.2f%%\n", name.c_str(),
                        trial.state == TrialState::pruned ? "pruned" : "complete",
                        static_cast<long long>(trial.reports.back().first), trial.reports.back().second);
        }
        std::fflush(stdout);
    }

    const Options& options_;
    const examples::ImageData& data_;
    at::Device device_;
    retort::GraphSpace graphs_;
    std::optional<retort::search::Study> study_;
};

/// More processes of this program, which only join the search.
class Workers {
  public:
    Workers(int count, char** arguments) {
        std::string join = "--join";
        std::vector<char*> words;
        for (; *arguments != nullptr; ++arguments) words.push_back(*arguments);
        words.push_back(join.data());
        words.push_back(nullptr);
        for (int i = 0; i < count; ++i) {
            pid_t process = 0;
            const int error =
                ::posix_spawn(&process, "/proc/self/exe", nullptr, nullptr, words.data(), environ);
            if (error != 0)
                throw retort::Error(std::string("cannot start a worker process: ") + std::strerror(error));
            processes_.push_back(process);
        }
    }
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    /// They end when the search ends, also after an error in this process.
    ~Workers() { wait(); }
    void wait() {
        for (const pid_t process : processes_) {
            int status = 0;
            if (::waitpid(process, &status, 0) != process) continue;
            if (WIFSIGNALED(status)) {
                std::printf("process %lld was ended by signal %d; its trial was taken over\n",
                            static_cast<long long>(process), WTERMSIG(status));
            }
        }
        processes_.clear();
    }

  private:
    std::vector<pid_t> processes_;
};

std::string with_noun(std::size_t count, const char* noun) { return std::to_string(count) + ' ' + noun; }

/// The best graphs as files, the search as tables and a plot.
void write_search(const retort::search::StudyRecord& record, const Search& search, const Options& options,
                  const examples::OutputFolder& out) {
    std::size_t place = 0;
    for (const auto& trial : record.best(options.best)) {
        const auto graph = search.graphs().graph(search.graphs().space().point(trial.words));
        const std::string name = "best_" + std::to_string(++place);
        retort::save_graph(graph, out.file(name + ".graph"));
        retort::write_file(out.file(name + ".dot"), retort::graph_dot(graph));
    }
    retort::write_file(out.file("trials.csv"), transfer_graph::trials_csv(record));
    retort::write_file(out.file("decisions.csv"), transfer_graph::decisions_csv(record, options.halving));
    retort::write_file(out.file("search.gp"), transfer_graph::gnuplot_script);
    const bool drawn = examples::draw(out.path(), "search");
    std::printf("\n%s: %s, %s, %s.%s\n", with_noun(record.trials.size(), "trials").c_str(),
                with_noun(record.count(TrialState::complete), "complete").c_str(),
                with_noun(record.count(TrialState::pruned), "pruned").c_str(),
                with_noun(record.count(TrialState::failed), "failed").c_str(),
                drawn ? "" : " (gnuplot is not installed: search.svg is not drawn.)");
}

void search_and_compare(Options options, char** arguments) {
    if (options.machine.threads == 0 && options.workers > 1) {
        const int cores = static_cast<int>(std::thread::hardware_concurrency());
        options.machine.threads = std::max(1, cores / options.workers);
    }
    const at::Device device = options.machine.apply();
    const examples::ImageData data = options.load();
    if (options.space.target.empty()) options.space.target = data.colored ? "resnet32" : "cnn8";
    if (options.space.architectures.empty()) {
        options.space.architectures = data.colored
                                          ? std::vector<std::string>{"resnet32", "resnet110", "wrn28-2"}
                                          : std::vector<std::string>{"cnn8", "cnn16"};
    }
    const examples::OutputFolder out(options.out);
    if (options.study.empty()) options.study = (out.path() / "search.study").string();

    Search search(options, data, device);
    if (options.join) {
        search.run();
        return;
    }
    examples::announce(data, device);
    std::printf("%zu learners: %s graphs. %lld trials of up to %lld epochs, %d processes: %s\n\n",
                options.space.learners, search.graphs().space().size().c_str(),
                static_cast<long long>(options.trials), static_cast<long long>(options.search_epochs),
                options.workers, options.study.c_str());
    std::fflush(stdout);
    retort::search::StudyRecord record;
    {
        Workers workers(options.workers - 1, arguments);
        record = search.run();
        workers.wait();
    }
    write_search(record, search, options, out);
    const auto best = record.best(1);
    if (best.empty()) throw retort::Error("the search: expected a completed trial, found none");
    const auto words = search.graphs().graph(search.graphs().space().point(best[0].words));
    std::printf("The best, trial %lld with an error of %.2f%% after %lld epochs:\n\n%s\n",
                static_cast<long long>(best[0].number), *best[0].value,
                static_cast<long long>(options.search_epochs), retort::graph_text(words).c_str());
    std::fflush(stdout);

    // The same learners for each method.
    std::vector<Way> ways{{"independent", examples::all_independent(options.space.learners)}};
    if (options.space.learners > 1)
        ways.push_back({"mutual", retort::mutual_learning(options.space.learners).description()});
    ways.push_back({"graph-" + std::to_string(best[0].number), words});
    for (Way& way : ways) {
        way.words.learners = words.learners;
        examples::save_way(way, out);
    }
    retort::Stages stages(search.beside("runs"), {.keep = 1, .signals = false});
    const examples::TrainWay with{
        options, data, device, out, stages, [&](const std::string& name, models::ImageNetwork& network) {
            search.know(name, network, search.beside("runs"));
        }};
    for (int seed = 0; seed < options.seeds; ++seed) {
        for (Way& way : ways) examples::train(way, static_cast<std::uint64_t>(seed), with);
    }
    examples::print_table(ways, options.seeds, options.space.learners);
    std::printf("\nGraphs, plot and histories: %s\n", out.path().c_str());
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Searches the knowledge transfer graph from which one learner learns best: a gate for each edge and "
        "an\n"
        "architecture for each other learner, random graphs, pruned by asynchronous successive halving. Then "
        "the\n"
        "best graph is trained longer, compared with independent training and mutual learning. (Minami, "
        "Hirakawa,\n"
        "Yamashita, Fujiyoshi, \"Knowledge Transfer Graph for Deep Collaborative Learning\", ACCV 2020.)"};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] { search_and_compare(options, argv); });
}
