// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the programs of the examples have in common: options, errors on one line, files that are there as a
/// whole or not at all.
#pragma once

#include <torch/serialize.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>

#include <retort/core/device.hpp>
#include <retort/core/environment.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>
#include <retort/trainer/stages.hpp>

namespace examples {

/// For options that are a number above 0, or of at least 0. (CLI11's own name the largest floating-point
/// number.)
inline CLI::Validator number_from(double least, bool least_itself, const char* words) {
    return CLI::Validator(
        [=](const std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            const bool fine = !text.empty() && *end == '\0' && std::isfinite(value) &&
                              (value > least || (least_itself && value == least));
            return fine ? std::string() : std::string("expected a number ") + words + ", found " + text;
        },
        "");
}
inline CLI::Validator above_zero() { return number_from(0, false, "above 0"); }
inline CLI::Validator zero_or_more() { return number_from(0, true, "of at least 0"); }

/// Adds options with their defaults in the help:
///
///     const examples::AddOption option{app};
///     option("--epochs", options.epochs, "Epochs of the student");
struct AddOption {
    CLI::App& app;

    template <class T>
    void operator()(const char* name, T& value, const char* text,
                    const CLI::Validator& valid = above_zero()) const {
        app.add_option(name, value, text)->capture_default_str()->check(valid);
    }
};

/// `--run`: a folder in which a program keeps checkpoints of all that it trains, so that the same command goes on with
/// it after it was killed. Without one, nothing is kept.
struct RunFolder {
    std::string folder;

    void add_to(CLI::App& app) {
        app.add_option(
            "--run", folder,
            "Folder for checkpoints, of this command alone: killed or interrupted, the same command goes "
            "on with it. Without it, nothing is kept");
    }
    retort::Stages stages() const {
        return folder.empty() ? retort::Stages() : retort::Stages(folder, {.keep = 1});
    }
};

/// Where to compute, and with how many threads.
struct Machine {
    std::string device = "auto";
    int threads = 0;

    void add_to(CLI::App& app) {
        app.add_option("--device", device,
                       "Where to compute: cpu, cuda, cuda:N, or auto (a GPU if there is one)")
            ->capture_default_str();
        app.add_option("--threads", threads, "Threads to compute with; 0: as many as the machine has cores")
            ->capture_default_str()
            ->check(examples::zero_or_more());
    }
    /// Applies the threads and finds the device.
    /// \throws retort::ConfigError if there is no such device
    at::Device apply() const {
        retort::set_threads(threads);
        const retort::Environment environment = retort::environment();
        if (environment.reference_blas)
            std::fprintf(stderr, "warning: %s\n", environment.warnings().front().c_str());
        return retort::device(device);
    }
};

/// Reads the command line and runs `body`. A wrong option or an error of the run becomes one line on standard
/// error and an exit code other than 0.
template <class Body>
int run(CLI::App& app, int argc, char** argv, Body&& body) {
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& error) {
        std::fprintf(stderr, "error: %s (--help tells more)\n", error.what());
        return 2;
    }
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        // LibTorch's messages go on with the places in its source.
        const std::string message = error.what();
        std::fprintf(stderr, "error: %s\n", message.substr(0, message.find('\n')).c_str());
        return 1;
    }
}

/// A folder for results: made if it is not there, and tried out before any work is done for it.
class OutputFolder {
  public:
    /// \throws retort::OutputError if it cannot be made
    explicit OutputFolder(std::filesystem::path path) : path_(std::move(path)) {
        std::error_code error;
        std::filesystem::create_directories(path_, error);
        if (error) {
            throw retort::OutputError(path_.string() + ": cannot make this folder: " + error.message());
        }
    }
    /// The path of a file in it.
    /// \throws retort::OutputError if it cannot be written
    std::filesystem::path file(const std::string& name) const {
        const std::filesystem::path result = path_ / name;
        retort::detail::check_writable(result);
        return result;
    }
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace examples
