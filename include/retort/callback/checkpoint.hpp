// SPDX-License-Identifier: BSL-1.0
/// \file
/// Saves a run as it goes, and goes on with it.
#pragma once

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <retort/callback/concept.hpp>
#include <retort/checkpoint/directory.hpp>
#include <retort/checkpoint/file.hpp>
#include <retort/checkpoint/interruption.hpp>
#include <retort/core/error.hpp>

namespace retort {

/// Options of `Checkpoint`.
struct CheckpointOptions {
    std::int64_t every_epochs =
        1;  ///< save after so many epochs; 0: not by epochs. The end of the run is always saved
    std::int64_t every_steps = 0;  ///< save after so many steps of an epoch, too; 0: not by steps
    std::int64_t keep = 2;         ///< how many checkpoints stay in the directory, the newest; at least 1
    bool resume = true;   ///< go on with what the directory holds; if false, it must hold no checkpoint
    bool signals = true;  ///< SIGINT and SIGTERM end the step at hand, save, and end the run
    std::FILE* stream = nullptr;  ///< where it says that it goes on, and how to; null: standard error
};

/// Saves a run as it goes; the same command goes on with it, bit for bit, whenever it was killed:
///
///     trainer.fit(batches, {.epochs = 240}, retort::ProgressBar{}, retort::Checkpoint{"run/"});
///
/// A trainer that has not begun takes up the newest checkpoint in the directory, if there is one. A run that had come
/// to its end, or that a callback had stopped, only gets its results back. A trainer that has begun (an earlier `fit`,
/// or `Trainer::resume`) goes on with what it has.
///
/// What is in a checkpoint: student, learnable parts and memory banks, optimizer, schedules with state, progress,
/// history, random generators (the CPU's and that of the run's device), the means of the running epoch, and the state
/// of the callbacks. Data sources follow from the number of the epoch (see `BatchSource`). The teacher is left out and
/// recognized by a hash. A checkpoint of another composition, network, teacher, optimizer, learning rate, data loader,
/// device or LibTorch is refused before anything is changed; so is a damaged one, which must be removed by hand. Other
/// options (temperatures, weights, momentum) are those of the program that goes on. Bits agree on one machine with the
/// same number of threads; the columns `seconds` and `samples_per_second` are wall-clock time.
///
/// The state is copied between two steps, a thread writes it: beside its place, flushed, renamed. A process that dies
/// while it writes leaves the checkpoints before. Errors of the thread come out of `fit`.
///
/// After SIGINT or SIGTERM `fit` returns early, and `retort::interrupted()` is true. The second signal ends the program
/// as usual. Handlers are set during `fit` only.
class Checkpoint {
  public:
    /// \param directory of this run alone; made if it is not there
    /// \throws ConfigError if an option makes no sense
    explicit Checkpoint(std::filesystem::path directory, CheckpointOptions options = {})
        : path_(std::move(directory)), options_(options) {
        if (options_.every_epochs < 0 || options_.every_steps < 0 || options_.keep < 1) {
            throw ConfigError(detail::concat(
                "Checkpoint: expected every_epochs and every_steps of at least 0 and keep of at "
                "least 1, found ",
                options_.every_epochs, ", ", options_.every_steps, " and ", options_.keep));
        }
        if (path_.empty()) throw ConfigError("Checkpoint: expected a directory, found an empty path");
    }
    Checkpoint(const Checkpoint&) = delete;
    Checkpoint& operator=(const Checkpoint&) = delete;
    ~Checkpoint() {
        if (writing_.valid()) writing_.wait();
    }

    void on_restore(FitContext& context) {
        end();
        directory_.emplace(path_);
        if (options_.signals) signals_.emplace();
        const auto names = detail::checkpoints_in(path_);
        if (names.empty()) return;
        const std::filesystem::path newest = path_ / names.back().text();
        if (!options_.resume) {
            throw ConfigError(
                detail::concat(newest.string(), ": there already, and CheckpointOptions::resume is false"));
        }
        if (context.run.begun()) {
            const detail::CheckpointName own{context.progress.epoch, context.progress.step};
            if (own < names.back()) {
                throw ConfigError(detail::concat(
                    newest.string(),
                    ": is of a later moment than this trainer, which has begun already (epoch ", own.epoch,
                    ", step ", own.step, "); take another directory, or a new trainer"));
            }
            return;
        }
        try {
            context.run.resume(newest);
        } catch (const CheckpointError& error) {
            std::string words = error.what();
            words += names.size() > 1 ? "\n(without this file the run goes on from " +
                                            (path_ / names[names.size() - 2].text()).string() + ")"
                                      : "\n(without this file the run begins anew)";
            throw CheckpointError(words);
        }
        std::fprintf(stream(), "%s: goes on at epoch %lld, step %lld\n", newest.c_str(),
                     static_cast<long long>(names.back().epoch), static_cast<long long>(names.back().step));
    }
    bool on_fit_begin(FitContext&) const { return !stop_wanted(); }
    bool on_settled(FitContext& context) {
        check_writer(/*wait=*/false);
        const Progress& progress = context.progress;
        const detail::CheckpointName now{progress.epoch, progress.step};
        const auto due = [](std::int64_t count, std::int64_t every) {
            return every > 0 && count % every == 0;
        };
        const bool stop = stop_wanted() && !stopped_;
        if (!stopped_ && (stop || context.ending ||
                          (progress.step == 0 ? due(progress.epoch, options_.every_epochs)
                                              : due(progress.step, options_.every_steps)))) {
            save(context.run, now);
        }
        stopped_ = stopped_ || stop;
        return !stopped_;
    }
    void on_fit_end(FitContext&) {
        check_writer(/*wait=*/true);
        if (stopped_) {
            const int signal = detail::StopSignals::received();
            std::fprintf(stream(), "%s: the run is saved in %s; the same command goes on with it\n",
                         signal == SIGINT ? "interrupted" : "terminated", written_.c_str());
        }
        end();
    }
    void on_error(FitContext&) { end(); }

    /// The checkpoint that was written last; empty before the first.
    const std::filesystem::path& written() const { return written_; }

  private:
    std::FILE* stream() const { return options_.stream != nullptr ? options_.stream : stderr; }
    bool stop_wanted() const { return options_.signals && interrupted(); }

    void save(const detail::RunHandle& run, const detail::CheckpointName& name) {
        check_writer(/*wait=*/true);
        written_ = path_ / name.text();
        const at::Device device = run.device;
        // Copies on a device are made in the order of its stream; what brings them to the CPU goes into the same.
        const auto stream =
            device.is_cpu()
                ? std::nullopt
                : std::optional<c10::Stream>(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
        writing_ = std::async(std::launch::async, [items = run.snapshot(), stream, path = written_,
                                                   directory = &*directory_, keep = options_.keep] {
            const auto guard = stream ? std::make_unique<c10::StreamGuard>(*stream) : nullptr;
            detail::write_state(path, items);
            directory->prune(static_cast<std::size_t>(keep));
        });
    }
    /// Brings the writer's error here.
    void check_writer(bool wait) {
        if (!writing_.valid()) return;
        if (!wait && writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
        writing_.get();
    }
    void end() {
        if (writing_.valid()) writing_.wait();
        writing_ = {};
        signals_.reset();
        directory_.reset();
        stopped_ = false;
    }

    std::filesystem::path path_;
    CheckpointOptions options_;
    std::optional<detail::CheckpointDirectory> directory_;
    std::optional<detail::StopSignals> signals_;
    std::future<void> writing_;
    std::filesystem::path written_;
    bool stopped_ = false;
};

}  // namespace retort
