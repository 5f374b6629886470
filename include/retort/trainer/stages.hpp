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
#include <retort/trainer/fit_options.hpp>

namespace retort {

/// A run that a signal has ended, and that is saved: what follows it must not begin.
struct Interrupted : Error {
    using Error::Error;
};

/// Trainings that follow one another: hints first and logits then, the initial stages of activation boundaries,
/// factor transfer or the flow of solution procedures, teacher, auxiliary and student. Each stage is a trainer of
/// its own, with knowledge, schedules, optimizer and learning rates of its own, or a cohort; stages of one network
/// share it.
///
///     retort::Stages stages{"run"};
///     retort::Trainer hints{student, retort::Frozen{teacher}, retort::Knowledge{retort::Hint{...}},
///                           retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.1}};
///     stages.fit("hints", hints, batches, {.epochs = 40});
///     retort::Trainer logits{student, retort::Frozen{teacher}, retort::Knowledge{retort::SoftTarget{}},
///                            retort::Schedule{1.0}, retort::WithLearningRate{retort::Sgd{}, retort::Cosine{}}};
///     stages.fit("logits", logits, batches, {.epochs = 200});
///
/// With a folder every stage has a `Checkpoint` in a sub-folder of its name, and the same program goes on where it
/// was stopped: a stage that is over gives its results back (network, learnable parts, history, random numbers)
/// without a step, the one that was stopped goes on. The numbers are those of a run that nobody stopped. Stages
/// that depend on one another are told by the checkpoints: one that was made with another teacher is refused.
class Stages {
  public:
    /// Stages that leave nothing behind.
    Stages() = default;
    /// \param folder of this run alone; made if it is not there
    /// \throws ConfigError if the path is empty
    explicit Stages(std::filesystem::path folder, CheckpointOptions options = {})
        : folder_(std::move(folder)), options_(options) {
        if (folder_.empty()) throw ConfigError("Stages: expected a folder, found an empty path");
    }

    /// Runs a stage, or what is left of it: `trainer.fit(source, options, callbacks...)`.
    /// \param name of the stage and its sub-folder: letters, digits, `_`, `-` and `.`; each but once
    /// \returns the trainer's history
    /// \throws ConfigError for a name that does not do; Interrupted if a signal has ended the stage early; what
    /// `fit` throws
    template <class Trainer, class Source, class... Callbacks>
    const History& fit(const std::string& name, Trainer& trainer, Source&& source, const FitOptions& options,
                       Callbacks&&... callbacks) {
        return run(name, trainer, [&](auto&&... checkpoint) -> const History& {
            return trainer.fit(source, options, callbacks..., checkpoint...);
        });
    }
    /// The same of a cohort: `cohort.fit(graph, source, options, callbacks...)`.
    template <class Cohort, class Graph, class Source, class... Callbacks>
    const History& fit(const std::string& name, Cohort& cohort, Graph& graph, Source&& source,
                       const FitOptions& options, Callbacks&&... callbacks) {
        return run(name, cohort, [&](auto&&... checkpoint) -> const History& {
            return cohort.fit(graph, source, options, callbacks..., checkpoint...);
        });
    }
    /// The names of the stages so far.
    const std::vector<std::string>& names() const { return names_; }

  private:
    template <class Trainer, class Fit>
    const History& run(const std::string& name, const Trainer& trainer, const Fit& fit) {
        begin(name);
        if (folder_.empty()) return fit();
        Checkpoint checkpoint{folder_ / name, options_};
        const History& history = fit(checkpoint);
        if (options_.signals && interrupted()) {
            throw Interrupted(detail::concat("stage ", name, ": interrupted in epoch ",
                                             trainer.progress().epoch, "; the same command goes on with it"));
        }
        return history;
    }
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
