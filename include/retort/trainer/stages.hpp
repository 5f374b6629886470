// SPDX-License-Identifier: BSL-1.0
/// \file
/// Trainings that follow one another, and that can be resumed where they stopped.
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

/// A run that a signal has ended, and that is saved: what follows it must not begin.
struct Interrupted : Error {
    using Error::Error;
};

/// Trainings that follow one another: hints first and logits then, the initial stages of activation boundaries,
/// factor transfer or the flow of solution procedures, teacher, auxiliary and student. Each stage is a run of its own, a
/// trainer or a cohort along a graph, with knowledge, schedules, optimizer and learning rates of its own; stages of one
/// network share it.
///
///     retort::Stages stages{"run"};
///     retort::Trainer hints{student, retort::Frozen{teacher}, retort::Knowledge{retort::Hint{...}},
///                           retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.1}};
///     stages.fit("hints", hints, batches, {.epochs = 40});
///     retort::Trainer logits{student, retort::Frozen{teacher}, retort::Knowledge{retort::SoftTarget{}},
///                            retort::Schedule{1.0}, retort::WithLearningRate{retort::Sgd{}, retort::Cosine{}}};
///     stages.fit("logits", logits, batches, {.epochs = 200});
///
/// With a folder every stage has a `Checkpoint` in a sub-folder of its name, and the same program resumes where it was
/// stopped: a stage that is over restores its results (network, learnable parts, history, random numbers) without a
/// step, the one that was stopped continues. The numbers are those of a run that was never stopped. Stages that depend
/// on one another are told by the checkpoints: one that was made with another teacher is refused.
class Stages {
  public:
    /// Stages that write no files.
    Stages() = default;
    /// \param folder of this run alone; made if it is not there
    /// \throws ConfigError if the path is empty
    explicit Stages(std::filesystem::path folder, CheckpointOptions options = {})
        : folder_(std::move(folder)), options_(options) {
        if (folder_.empty()) throw ConfigError("Stages: expected a folder, found an empty path");
    }

    /// Runs a stage, or what is left of it: `run.fit(source, options, callbacks...)`.
    /// \param name of the stage and its sub-folder: letters, digits, `_`, `-` and `.`; each only once
    /// \param run a `Trainer`, or a cohort along a graph (`CohortRun`)
    /// \returns the run's history
    /// \throws ConfigError if the name is not one; Interrupted if a signal has ended the stage early; what `fit` throws
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
                "Stages: expected the name of a stage to be of letters, digits, _, - and ., found \"", name,
                "\""));
        }
        if (std::find(names_.begin(), names_.end(), name) != names_.end()) {
            throw ConfigError(
                detail::concat("Stages: expected stages of different names, found \"", name, "\" twice"));
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
