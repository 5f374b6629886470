// SPDX-License-Identifier: BSL-1.0
/// \file
/// Kills runs at random moments, some while they save, restarts them with the same command until they end, and
/// compares weights and histories bit for bit with those of an undisturbed run:
///
///     kill <case> <runs> <seed>
///
/// Each run is a separate process: `kill <case> --run <directory> <results>`. A case is a function that trains in a
/// directory and returns what is compared; a new one needs a line in `cases`.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <random>
#include <thread>

#include <retort/callback.hpp>
#include <retort/cohort/cohort.hpp>
#include <retort/cohort/gate.hpp>
#include <retort/data/augment/horizontal_flip.hpp>
#include <retort/data/loader.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/relation/contrastive_representation.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace {

using namespace retort_test;
using retort::detail::StateItems;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// --- the runs ---------------------------------------------------------------------------------------------------

void add(StateItems& results, const std::string& name, const torch::nn::Module& module) {
    for (const auto& tensor : state(module)) {
        results.push_back({retort::detail::concat(name, results.size()), tensor});
    }
}
/// All columns except wall-clock times.
void add(StateItems& results, const std::string& name, const retort::History& history) {
    for (const std::string& column : history.columns()) {
        if (column == "seconds" || column == "samples_per_second") continue;
        std::vector<double> values;
        for (std::size_t row = 0; row < history.size(); ++row) values.push_back(history.at(row, column));
        results.push_back({name + "/" + column, torch::tensor(values, torch::kDouble)});
    }
}

constexpr std::int64_t samples = 160;
auto loader() {
    auto generator = at::detail::createCPUGenerator(5);
    const auto inputs = torch::randn({samples, 1, 8, 8}, generator);
    const auto targets = torch::randint(0, 3, {samples}, generator, torch::kLong);
    return retort::data::Loader{retort::data::in_memory(inputs, targets, 3),
                                {.batch_size = 16, .seed = 3},
                                retort::data::HorizontalFlip{}};
}
retort::CheckpointOptions often() { return {.every_steps = 1, .keep = 2}; }
auto optimizer() {
    return retort::WithLearningRate{retort::Sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 1e-3},
                                    retort::Cosine{.every = retort::Every::step}};
}

/// A student with dropout, batch norm, a learnable connector and a memory bank; the best model is restored.
StateItems pair(const fs::path& directory) {
    torch::manual_seed(1);
    ConvNet teacher(6), student(4, 0.3);
    const auto late = retort::tap<&ConvOutputs::late>;
    retort::Trainer trainer{
        student, retort::Frozen{teacher},
        retort::Knowledge{
            retort::CrossEntropy{}, retort::SoftTarget{}, retort::Hint{late, late, retort::Conv1x1{}},
            retort::ContrastiveRepresentation{
                late, late, retort::BankNegatives{.samples = samples, .negatives = 32}, {.size = 512}}},
        retort::Schedule{0.5, 0.5, 1.0, 0.2}, optimizer()};
    const auto batches = loader();
    StateItems results;
    add(results, "history",
        trainer.fit(batches, {.epochs = 6, .report_every = 3}, retort::Validation{batches},
                    retort::EarlyStopping{{.patience = 5}}, retort::BestModel{},
                    retort::Checkpoint{directory, often()}));
    add(results, "student", *student);
    return results;
}

/// Three learners that teach each other, one of them with a learnable connector.
StateItems cohort(const fs::path& directory) {
    torch::manual_seed(1);
    ConvNet one(4, 0.3), two(5, 0.2), three(6);
    const auto late = retort::tap<&ConvOutputs::late>;
    const retort::FromTorch<torch::optim::Adam> adam{torch::optim::AdamOptions(0.01)};
    retort::Cohort learners{retort::Learner{one, optimizer()}, retort::Learner{two, optimizer()},
                            retort::Learner{three, adam}};
    retort::TransferGraph graph{
        retort::label<0>(),
        retort::label<1>(retort::CrossEntropy{}, retort::gate::PositiveLinear{.iterations = 20}),
        retort::label<2>(),
        retort::edge<1, 0>(retort::SoftTarget{}, retort::gate::Correct{}),
        retort::edge<2, 0>(retort::Hint{late, late, retort::Conv1x1{}}),
        retort::edge<0, 2>(retort::SoftTarget{})};
    const auto batches = loader();
    StateItems results;
    add(results, "history",
        learners.along(graph).fit(batches, {.epochs = 5, .report_every = 3}, retort::Validation{batches},
                                  retort::Checkpoint{directory, often()}));
    add(results, "learners", learners.module());
    return results;
}

/// A teacher, an assistant that it teaches, and a student that the assistant teaches: runs in sequence.
StateItems stages(const fs::path& directory) {
    torch::manual_seed(1);
    const auto batches = loader();
    StateItems results;
    const auto train = [&](const std::string& name, const ConvNet& student, auto teacher) {
        retort::Trainer trainer{student, std::move(teacher),
                                retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{}},
                                retort::Schedule{0.5, 0.5}, optimizer()};
        add(results, name,
            trainer.fit(batches, {.epochs = 3}, retort::Validation{batches}, retort::BestModel{},
                        retort::Checkpoint{directory / name, often()}));
        add(results, name, *student);
    };
    ConvNet first(6), teacher(6, 0.2);
    train("teacher", teacher, retort::Frozen{first});
    ConvNet assistant(5, 0.2);
    train("assistant", assistant, retort::Frozen{teacher});
    ConvNet student(4, 0.2);
    train("student", student, retort::Frozen{assistant});
    return results;
}

using Case = StateItems (*)(const fs::path&);
const std::map<std::string, Case> cases{{"pair", &pair}, {"cohort", &cohort}, {"stages", &stages}};

// --- killing them ------------------------------------------------------------------------------------------------

struct Command {
    std::string program, name;
    fs::path directory, results;

    pid_t start() const {
        const pid_t child = ::fork();
        if (child != 0) return child;
        if (const int nowhere = ::open("/dev/null", O_WRONLY); nowhere >= 0) ::dup2(nowhere, STDERR_FILENO);
        ::execl(program.c_str(), program.c_str(), name.c_str(), "--run", directory.c_str(), results.c_str(),
                nullptr);
        ::_exit(126);
    }
};

/// Whether a file is being written in the directory or one below.
bool saving(const fs::path& directory) {
    std::error_code error;
    for (fs::recursive_directory_iterator entries(directory, error), end; !error && entries != end;
         entries.increment(error)) {
        if (entries->path().filename().string().find(".retort.part") != std::string::npos) return true;
    }
    return false;
}

struct Tally {
    int kills = 0, while_saving = 0;
};

/// Runs a command until it ends by itself, killing it up to `kills` times. \returns an error, or nothing
std::string run(const Command& command, int kills, double seconds, std::mt19937_64& random, Tally& tally) {
    std::uniform_real_distribution<double> moment(0.0, seconds);
    while (true) {
        const pid_t child = command.start();
        if (child < 0) return "cannot start a process";
        const bool when_saving = kills > 0 && random() % 2 == 0;
        const auto until = Clock::now() + std::chrono::duration<double>(kills > 0 ? moment(random) : 1e6);
        int status = 0;
        bool killed = false;
        while (::waitpid(child, &status, WNOHANG) == 0) {
            if (!killed && Clock::now() >= until && (!when_saving || saving(command.directory))) {
                ::kill(child, SIGKILL);
                killed = true;
                ::waitpid(child, &status, 0);
                break;
            }
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && killed) {
            ++tally.kills;
            tally.while_saving += saving(command.directory) ? 1 : 0;
            --kills;
            continue;
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
        return retort::detail::concat("a run ended with status ", status);
    }
}

/// The first value in which the results of two runs differ.
std::string difference(const std::string& one, const std::string& other) {
    const StateItems a = retort::detail::decode_state(one, "results");
    const StateItems b = retort::detail::decode_state(other, "results");
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        if (a[i].name != b[i].name) return a[i].name + " and " + b[i].name;
        if (const Comparison each = same(a[i].tensor, b[i].tensor); !each)
            return retort::detail::concat(a[i].name, ": ", each);
    }
    return retort::detail::concat(a.size(), " and ", b.size(), " values");
}

int usage() {
    std::fprintf(stderr, "usage: kill pair|cohort|stages <runs> <seed>\n");
    return 2;
}

int kill_runs(const std::string& program, const std::string& name, int runs, std::uint64_t seed) {
    const TemporaryDirectory directory;
    std::mt19937_64 random(seed);
    Tally tally;
    const Command undisturbed{program, name, directory / "undisturbed", directory / "undisturbed.results"};
    const auto began = Clock::now();
    if (const std::string error = run(undisturbed, 0, 0, random, tally); !error.empty()) {
        std::fprintf(stderr, "%s: undisturbed: %s\n", name.c_str(), error.c_str());
        return 1;
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    const std::string expected = read_file(undisturbed.results);
    int differ = 0;
    for (int i = 0; i < runs; ++i) {
        const std::string number = std::to_string(i);
        const Command command{program, name, directory / number, directory / (number + ".results")};
        const std::string error = run(command, 1 + static_cast<int>(random() % 4), seconds, random, tally);
        const bool same_bits = error.empty() && read_file(command.results) == expected;
        if (!same_bits) {
            ++differ;
            std::fprintf(
                stderr, "%s: run %d of seed %llu: %s\n", name.c_str(), i,
                static_cast<unsigned long long>(seed),
                error.empty() ? difference(expected, read_file(command.results)).c_str() : error.c_str());
        }
        std::error_code ignored;
        fs::remove_all(command.directory, ignored);
    }
    std::printf(
        "%s: %d runs, killed %d times, %d of them while saving; %d differ from the undisturbed run (%.1f "
        "s)\n",
        name.c_str(), runs, tally.kills, tally.while_saving, differ, seconds);
    return differ == 0 && tally.kills > 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 4) return usage();
    const std::string name = arguments[1];
    const auto found = cases.find(name);
    if (found == cases.end()) return usage();
    try {
        if (std::string(arguments[2]) == "--run" && count == 5) {
            retort::detail::write_state(arguments[4], found->second(arguments[3]));
            return 0;
        }
        return kill_runs("/proc/self/exe", name, std::stoi(arguments[2]), std::stoull(arguments[3]));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
