// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the programs that compare ways to learn over several seeds have in common.
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

    /// \param epochs_text what `--epochs` is of
    void add_to(CLI::App& app, const char* epochs_text) {
        app.add_option(
            "--data", data,
            "Folder with CIFAR-100 (binary version), Fashion-MNIST or MNIST (IDX files). Without it, a "
            "built-in data set of letters that draws itself");
        const AddOption option{app};
        option("--samples", samples,
               "Training samples, those for validation among them; 0: all of --data, or 2000 letters",
               zero_or_more());
        option("--test-samples", test_samples, "Samples to test on; 0: all of --data, or 4000 letters",
               zero_or_more());
        option("--validation", validation, "The part of the training samples put aside for validation",
               CLI::Range(0.001, 0.999));
        option("--seeds", seeds, "Runs, each with another seed for weights and order of the samples",
               CLI::Range(1, 1000));
        option("--epochs", epochs, epochs_text, CLI::Range(1, 1000000));
        option("--batch-size", batch_size, "Samples in a step", CLI::Range(1, 1000000));
        option("--learning-rate", learning_rate, "At the start; falls to 0 along a cosine", above_zero());
        app.add_option("--out", out, "Folder for the results; files of an earlier run are replaced")
            ->capture_default_str();
        machine.add_to(app);
    }

    /// The data of `--data` and `--samples`.
    ImageData load() const { return image_data(data, samples, 2000, validation, test_samples); }
    /// How all learners learn.
    retort::WithLearningRate<retort::Sgd, retort::Cosine> optimizer() const {
        return {retort::Sgd{
                    .learning_rate = learning_rate, .momentum = 0.9, .weight_decay = 5e-4, .nesterov = true},
                retort::Cosine{.every = retort::Every::step}};
    }
    /// What the progress bar calls a run.
    std::string label(std::uint64_t seed, const std::string& way) const {
        std::string result = retort::detail::concat("seed ", seed + 1, "/", seeds, "  ", way);
        if (result.size() < 26) result.resize(26, ' ');
        return result;
    }
};

/// Says on what is trained, and where.
inline void announce(const ImageData& data, const at::Device& device) {
    std::printf("%s: %lld samples to learn from, %lld to validate, %lld to test.\nOn %s with %d threads.\n\n",
                data.name.c_str(), static_cast<long long>(data.train.size()),
                static_cast<long long>(data.validation.size()), static_cast<long long>(data.test.size()),
                device.str().c_str(), at::get_num_threads());
    std::fflush(stdout);
}

}  // namespace examples
