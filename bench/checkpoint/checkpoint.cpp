// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cost of saving: a run of a residual network that saves after every epoch, alternating with the same run that
/// does not, in one thread; how long a save blocks the loop, and how long its writer thread works. CPU time, except
/// where it says wall-clock, and for writing, which waits for the disk.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <utility>
#include <vector>

#include <retort/checkpoint/directory.hpp>
#include <retort/retort.hpp>

#include "../common/measure.hpp"
#include "models/residual.hpp"

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }
/// Of this thread alone.
double thread_seconds() {
    std::timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Options {
    std::int64_t depth = 32;
    std::int64_t batch_size = 16;
    std::int64_t steps = 100;
    std::int64_t epochs = 2;
    int pairs = 5;
};

/// Two callbacks around a `Checkpoint` that measure the CPU time it takes in the loop's thread between two steps.
struct Before {
    double& begin;
    void on_settled(retort::FitContext&) { begin = thread_seconds(); }
};
struct After {
    double& begin;
    std::vector<double>& saves;  ///< at the end of epochs
    double& steps;               ///< elsewhere, in total
    void on_settled(retort::FitContext& context) {
        const double seconds = thread_seconds() - begin;
        if (context.progress.step == 0) {
            saves.push_back(seconds);
        } else {
            steps += seconds;
        }
    }
};

auto make_trainer(const models::ResidualNet& net) {
    return retort::Trainer{net, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}},
                           retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.01, .momentum = 0.9}};
}

struct Run {
    explicit Run(const Options& options) : net(models::resnet(options.depth)) {
        for (std::int64_t i = 0; i < options.steps; ++i) {
            batches.emplace_back(torch::randn({options.batch_size, 3, 32, 32}),
                                 torch::randint(0, 100, {options.batch_size}, torch::kLong));
        }
    }
    models::ResidualNet net;
    std::vector<std::pair<torch::Tensor, torch::Tensor>> batches;
    decltype(make_trainer(std::declval<models::ResidualNet>())) trainer = make_trainer(net);

    /// Wall-clock and CPU seconds of some more epochs.
    template <class... Callbacks>
    std::pair<double, double> go_on(std::int64_t epochs, Callbacks&&... callbacks) {
        const auto begin = Clock::now();
        const double cpu = measure::cpu_seconds();
        trainer.fit(batches, {.epochs = trainer.progress().epoch + epochs}, callbacks...);
        return {since(begin), measure::cpu_seconds() - cpu};
    }
};

void compare(const Options& options, const std::filesystem::path& directory) {
    at::set_num_threads(1);
    Run plain(options), saving(options);
    double begin = 0;
    std::vector<double> saves;
    double between = 0;
    const auto save = [&] {
        return saving.go_on(options.epochs, Before{begin}, retort::Checkpoint{directory},
                            After{begin, saves, between});
    };
    plain.go_on(1);
    save();
    saves.clear();
    between = 0;
    std::vector<double> wall, cpu, step;
    double loops = 0;  // CPU time of the runs that save
    for (int pair = 0; pair < options.pairs; ++pair) {
        std::pair<double, double> without, with;
        if (pair % 2 == 0) {
            without = plain.go_on(options.epochs);
            with = save();
        } else {
            with = save();
            without = plain.go_on(options.epochs);
        }
        step.push_back(without.second / static_cast<double>(options.epochs * options.steps));
        loops += with.second;
        wall.push_back(with.first / without.first);
        cpu.push_back(with.second / without.second);
    }

    // The work of the writer thread on its own.
    const auto newest = retort::detail::newest_checkpoint(directory);
    const auto items = retort::detail::read_state(newest);
    std::vector<double> encoding, writing;
    for (int i = 0; i < 9; ++i) {
        const double from_thread = thread_seconds();
        const std::string bytes = retort::detail::encode_state(items);
        encoding.push_back(thread_seconds() - from_thread);
        const auto from = Clock::now();
        retort::detail::write_atomically(directory / "again", bytes);
        writing.push_back(since(from));
    }

    std::int64_t parameters = 0;
    for (const auto& each : plain.net->parameters()) parameters += each.numel();
    double held = between;
    for (const double each : saves) held += each;
    std::printf("residual network of depth %lld, %lld parameters; checkpoints of %.2f MB\n",
                static_cast<long long>(options.depth), static_cast<long long>(parameters),
                static_cast<double>(std::filesystem::file_size(newest)) / 1e6);
    std::printf("a step of %lld images: %.2f ms; a save every %lld\n",
                static_cast<long long>(options.batch_size), 1e3 * measure::median(step),
                static_cast<long long>(options.steps));
    std::printf(
        "a save blocks the loop for %.2f ms (median of %zu), its thread takes %.2f ms to encode and %.2f ms "
        "to "
        "write and flush\n",
        1e3 * measure::median(saves), saves.size(), 1e3 * measure::median(encoding),
        1e3 * measure::median(writing));
    std::printf("share of CPU time in which saving blocks the loop: %.3f %%\n", 100 * held / loops);
    std::printf("with saves to without, median of %d pairs: %.4f of wall-clock time, %.4f of CPU time\n",
                options.pairs, measure::median(wall), measure::median(cpu));
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"The cost of saving a run."};
    Options options;
    app.add_option("--depth", options.depth, "6n + 2")->capture_default_str();
    app.add_option("--batch-size", options.batch_size, "Images per step")->capture_default_str();
    app.add_option("--steps", options.steps, "Steps per epoch, and between saves")->capture_default_str();
    app.add_option("--epochs", options.epochs, "Epochs per measurement")->capture_default_str();
    app.add_option("--pairs", options.pairs, "Pairs of measurements")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    const auto directory = std::filesystem::temp_directory_path() / "retort-bench-checkpoint";
    std::filesystem::remove_all(directory);
    compare(options, directory);
    std::filesystem::remove_all(directory);
}
