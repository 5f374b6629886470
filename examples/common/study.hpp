// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by the programs that compare methods over several seeds.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include <retort/detail/check.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>

#include "image_data.hpp"
#include "program.hpp"

namespace examples {

/// The options of such a program.
struct StudyOptions {
    std::string data;
    std::string out;
    std::int64_t samples = 0;
    std::int64_t test_samples = 0;
    double validation = 0.1;
    int seeds = 3;
    std::int64_t epochs = 20;
    std::int64_t batch_size = 64;
    double learning_rate = 0.1;
    Machine machine;

    /// \param epochs_text the help text of `--epochs`
    void add_to(CLI::App& app, const char* epochs_text) {
        app.add_option(
            "--data", data,
            "Folder with CIFAR-100 (binary version), Fashion-MNIST or MNIST (IDX files). Without it, a "
            "built-in data set of generated letters");
        const AddOption option{app};
        option("--samples", samples,
               "Training samples, including those for validation; 0: all of --data, or 2000 letters",
               zero_or_more());
        option("--test-samples", test_samples, "Test samples; 0: all of --data, or 4000 letters",
               zero_or_more());
        option("--validation", validation, "Fraction of the training samples held out for validation",
               CLI::Range(0.001, 0.999));
        option("--seeds", seeds, "Runs, each with a different seed for weights and sample order",
               CLI::Range(1, 1000));
        option("--epochs", epochs, epochs_text, CLI::Range(1, 1000000));
        option("--batch-size", batch_size, "Samples per step", CLI::Range(1, 1000000));
        option("--learning-rate", learning_rate, "Initial learning rate; decays to 0 along a cosine",
               above_zero());
        app.add_option("--out", out, "Folder for the results; files of an earlier run are overwritten")
            ->capture_default_str();
        machine.add_to(app);
    }

    /// The data of `--data` and `--samples`.
    ImageData load() const { return image_data(data, samples, 2000, validation, test_samples); }
    /// The optimizer of all learners.
    retort::WithLearningRate<retort::Sgd, retort::Cosine> optimizer() const {
        return {retort::Sgd{
                    .learning_rate = learning_rate, .momentum = 0.9, .weight_decay = 5e-4, .nesterov = true},
                retort::Cosine{.every = retort::Every::step}};
    }
    /// The label of a run in the progress bar.
    std::string label(std::uint64_t seed, const std::string& way) const {
        std::string result = "seed " + std::to_string(seed + 1) + "/" + std::to_string(seeds) + "  " + way;
        if (result.size() < 26) result.resize(26, ' ');
        return result;
    }
};

/// Prints the data, the device and the number of threads.
inline void announce(const ImageData& data, const at::Device& device) {
    std::printf(
        "%s: %lld samples for training, %lld for validation, %lld for testing.\nOn %s with %d threads.\n\n",
        data.name.c_str(), static_cast<long long>(data.train.size()),
        static_cast<long long>(data.validation.size()), static_cast<long long>(data.test.size()),
        device.str().c_str(), at::get_num_threads());
    std::fflush(stdout);
}

}  // namespace examples
