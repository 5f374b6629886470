// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by the programs of the examples: options, one-line errors, and files written atomically.
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
#include <retort/io/write_file.hpp>
#include <retort/trainer/stages.hpp>

namespace examples {

/// For options that are a number above 0, or of at least 0. (CLI11's own validators print the largest floating-point
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

/// `--run`: a folder for checkpoints of everything a program trains, so that rerunning the same command resumes it.
/// Without it, no checkpoints are written.
struct RunFolder {
    std::string folder;

    void add_to(CLI::App& app) {
        app.add_option(
            "--run", folder,
            "Folder for checkpoints, of this command only: killed or interrupted, rerun the same command to "
            "resume. Without it, no checkpoints are written");
    }
    retort::Stages stages() const {
        return folder.empty() ? retort::Stages() : retort::Stages(folder, {.keep = 1});
    }
};

/// The device and the number of threads.
struct Machine {
    std::string device = "auto";
    int threads = 0;

    void add_to(CLI::App& app) {
        app.add_option("--device", device,
                       "Where to compute: cpu, cuda, cuda:N, or auto (a GPU if there is one)")
            ->capture_default_str();
        app.add_option("--threads", threads, "Number of threads; 0: one per core")
            ->capture_default_str()
            ->check(examples::zero_or_more());
    }
    /// Sets the number of threads and returns the device.
    /// \throws retort::ConfigError if there is no such device
    at::Device apply() const {
        retort::set_threads(threads);
        const retort::Environment environment = retort::environment();
        if (environment.reference_blas)
            std::fprintf(stderr, "warning: %s\n", environment.warnings().front().c_str());
        return retort::device(device);
    }
};

/// Parses the command line and runs `body`. An invalid option or an error of the run becomes one line on standard
/// error and a nonzero exit code.
template <class Body>
int run(CLI::App& app, int argc, char** argv, Body&& body) {
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& error) {
        std::fprintf(stderr, "error: %s (see --help)\n", error.what());
        return 2;
    }
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        // LibTorch's messages continue with a stack trace.
        const std::string message = error.what();
        std::fprintf(stderr, "error: %s\n", message.substr(0, message.find('\n')).c_str());
        return 1;
    }
}

/// A folder for results: created if missing, and checked before any work is done for it.
class OutputFolder {
  public:
    /// \throws retort::OutputError if it cannot be created
    explicit OutputFolder(std::filesystem::path path) : path_(std::move(path)) {
        std::error_code error;
        std::filesystem::create_directories(path_, error);
        if (error) {
            throw retort::OutputError(path_.string() + ": cannot create this folder: " + error.message());
        }
    }
    /// The path of a file in it.
    /// \throws retort::OutputError if it cannot be written
    std::filesystem::path file(const std::string& name) const {
        const std::filesystem::path result = path_ / name;
        retort::check_writable(result);
        return result;
    }
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace examples
