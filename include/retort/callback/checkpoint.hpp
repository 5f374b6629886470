// SPDX-License-Identifier: BSL-1.0
/// \file
/// Saves a run periodically and resumes it.
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
        1;  ///< save every so many epochs; 0: not by epochs. The end of the run is always saved
    std::int64_t every_steps = 0;  ///< also save every so many steps within an epoch; 0: not by steps
    std::int64_t keep = 2;         ///< how many checkpoints to keep, the newest ones; at least 1
    bool resume = true;            ///< resume from the directory; if false, it must not hold a checkpoint
    bool signals = true;           ///< on SIGINT and SIGTERM, finish the current step, save, and end the run
    std::FILE* stream = nullptr;   ///< for its messages about resuming; null: standard error
};

/// Saves a run periodically. Rerun after being killed at any time, the same command resumes it, bit for bit:
///
///     trainer.fit(batches, {.epochs = 240}, retort::ProgressBar{}, retort::Checkpoint{"run/"});
///
/// A trainer that has not started resumes from the newest checkpoint in the directory, if there is one. A run that
/// had ended, or that a callback had stopped, only gets its results restored. A trainer that has started (an earlier
/// `fit`, or `Trainer::resume`) continues from its own state.
///
/// A checkpoint holds: student, learnable parts and memory banks, optimizer, schedules with state, progress, history,
/// random generators (the CPU's and that of the run's device), the running means of the epoch, and the state of the
/// callbacks. Data sources follow from the epoch's number (see `BatchSource`). The teacher is not stored but
/// identified by a hash. A checkpoint of another composition, network, teacher, optimizer, learning rate, data
/// loader, device or LibTorch is refused before anything is changed; so is a damaged one, which must be removed
/// manually. Other options (temperatures, weights, momentum) are those of the resuming program. Results are
/// bit-identical on one machine with the same number of threads; the columns `seconds` and `samples_per_second` are
/// wall-clock time.
///
/// The state is copied between two steps and written by a thread: to a temporary file, flushed, renamed. A process
/// that dies while writing leaves the earlier checkpoints intact. Errors of the thread are thrown from `fit`.
///
/// After SIGINT or SIGTERM `fit` returns early, and `retort::interrupted()` is true. A second signal terminates the
/// program as usual. Handlers are installed during `fit` only.
class Checkpoint {
  public:
    /// \param directory of this run only; created if missing
    /// \throws ConfigError if an option is out of range
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
                detail::concat(newest.string(), ": exists already, and CheckpointOptions::resume is false"));
        }
        if (context.run.begun()) {
            const detail::CheckpointName own{context.progress.epoch, context.progress.step};
            if (own < names.back()) {
                throw ConfigError(detail::concat(
                    newest.string(), ": is later than this trainer, which has started already (epoch ",
                    own.epoch, ", step ", own.step, "); use another directory, or a new trainer"));
            }
            return;
        }
        try {
            context.run.resume(newest);
        } catch (const CheckpointError& error) {
            std::string words = error.what();
            words += names.size() > 1 ? "\n(without this file the run resumes from " +
                                            (path_ / names[names.size() - 2].text()).string() + ")"
                                      : "\n(without this file the run starts over)";
            throw CheckpointError(words);
        }
        std::fprintf(stream(), "resuming from %s (epoch %lld, step %lld)\n", newest.c_str(),
                     static_cast<long long>(names.back().epoch), static_cast<long long>(names.back().step));
    }
    bool on_fit_begin(FitContext&) const {
        if (!stop_wanted()) return true;
        std::fprintf(
            stream(),
            "%s: no step was made, as a signal came before the first; rerun the same command to resume\n",
            signal_words());
        return false;
    }
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
            std::fprintf(stream(), "%s: saved to %s; rerun the same command to resume\n", signal_words(),
                         written_.c_str());
        }
        end();
    }
    void on_error(FitContext&) { end(); }

    /// The last checkpoint written; empty before the first.
    const std::filesystem::path& written() const { return written_; }

  private:
    std::FILE* stream() const { return options_.stream != nullptr ? options_.stream : stderr; }
    static const char* signal_words() {
        return detail::StopSignals::received() == SIGINT ? "interrupted" : "terminated";
    }
    bool stop_wanted() const { return options_.signals && interrupted(); }

    void save(const detail::RunHandle& run, const detail::CheckpointName& name) {
        check_writer(/*wait=*/true);
        written_ = path_ / name.text();
        const at::Device device = run.device;
        // Copies on a device are ordered by its stream; the transfer to the CPU goes to the same stream.
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
    /// Rethrows the writer's error here.
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
