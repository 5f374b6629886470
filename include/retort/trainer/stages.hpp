// SPDX-License-Identifier: BSL-1.0
/// \file
/// Training runs in sequence, resumable where they stopped.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/callback/checkpoint.hpp>
#include <retort/callback/history.hpp>
#include <retort/core/error.hpp>
#include <retort/trainer/concept.hpp>
#include <retort/trainer/fit_options.hpp>

namespace retort {

/// Thrown when a signal has ended a run, which is saved: the following stages must not start.
struct Interrupted : Error {
    using Error::Error;
};

/// Training runs in sequence: hints, then logits; the initial stages of activation boundaries, factor transfer or the
/// flow of solution procedures; teacher, auxiliary and student. Each stage is a separate run, a trainer or a cohort
/// along a graph, with its own knowledge, schedules, optimizer and learning rates; stages may share a network.
///
///     retort::Stages stages{"run"};
///     retort::Trainer hints{student, retort::Frozen{teacher}, retort::Knowledge{retort::Hint{...}},
///                           retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.1}};
///     stages.fit("hints", hints, batches, {.epochs = 40});
///     retort::Trainer logits{student, retort::Frozen{teacher}, retort::Knowledge{retort::SoftTarget{}},
///                            retort::Schedule{1.0}, retort::WithLearningRate{retort::Sgd{}, retort::Cosine{}}};
///     stages.fit("logits", logits, batches, {.epochs = 200});
///
/// With a folder, every stage has a `Checkpoint` in a subfolder of its name, and the same program, rerun, resumes where
/// it stopped: a completed stage restores its results (network, learnable parts, history, random generators) without a
/// step, the interrupted one continues. Results are those of a run that never stopped. If an earlier stage has changed,
/// the checkpoints of those that depend on it are refused: they were made with another teacher.
class Stages {
  public:
    /// Stages that write no files.
    Stages() = default;
    /// \param folder of this run only; created if missing
    /// \throws ConfigError if the path is empty
    explicit Stages(std::filesystem::path folder, CheckpointOptions options = {})
        : folder_(std::move(folder)), options_(options) {
        if (folder_.empty()) throw ConfigError("Stages: expected a folder, found an empty path");
    }

    /// Runs a stage, or what is left of it: `run.fit(source, options, callbacks...)`.
    /// \param name of the stage and its subfolder: letters, digits, `_`, `-` and `.`; each only once
    /// \param run a `Trainer`, or a cohort along a graph (`CohortRun`)
    /// \returns the run's history
    /// \throws ConfigError if the name is invalid or repeated; Interrupted if a signal has ended the stage early; what
    /// `fit` throws
    template <TrainingRun Run, class Source, class... Callbacks>
    const History& fit(const std::string& name, Run& run, Source&& source, const FitOptions& options,
                       Callbacks&&... callbacks) {
        begin(name);
        if (folder_.empty()) return run.fit(source, options, callbacks...);
        Checkpoint checkpoint{folder_ / name, options_};
        const History& history = run.fit(source, options, callbacks..., checkpoint);
        if (options_.signals && interrupted()) {
            throw Interrupted(detail::concat("stage ", name, ": interrupted in epoch ", run.progress().epoch,
                                             "; rerun the same command to resume"));
        }
        return history;
    }
    /// The names of the stages so far.
    const std::vector<std::string>& names() const { return names_; }

  private:
    void begin(const std::string& name) {
        const bool fine =
            !name.empty() && name.front() != '.' && name.find_first_not_of(allowed) == name.npos;
        if (!fine) {
            throw ConfigError(detail::concat(
                "Stages: expected a stage name of letters, digits, _, - and ., found \"", name, "\""));
        }
        if (std::find(names_.begin(), names_.end(), name) != names_.end()) {
            throw ConfigError(
                detail::concat("Stages: expected stages with different names, found \"", name, "\" twice"));
        }
        names_.push_back(name);
    }

    static constexpr std::string_view allowed =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    std::filesystem::path folder_;
    CheckpointOptions options_;
    std::vector<std::string> names_;
};

}  // namespace retort
