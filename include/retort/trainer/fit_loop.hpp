// SPDX-License-Identifier: BSL-1.0
/// \file
/// The loop over epochs and steps, which all that has a `fit` shares.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/callback/history.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/random_state.hpp>
#include <retort/checkpoint/run_state.hpp>
#include <retort/core/batch.hpp>
#include <retort/core/batch_source.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/trainer/fit_options.hpp>

namespace retort::detail {

/// The loop of `fit`: epochs and steps, callbacks, the history. What is trained, and how, is the subject's:
///
/// | expression                           | meaning |
/// |--------------------------------------|----------------------------------------------------------------|
/// | `s.progress_`, `s.history_`          | where the run stands, what was measured |
/// | `s.run_`                             | a `RunState` of its record: what else the run carries from step to step |
/// | `s.context()`                        | what callbacks see: a `FitContextOf` |
/// | `s.columns()`, `s.record()`          | the columns of the history; the numbers of an epoch (`EpochRecord`) |
/// | `s.begin_fit()`                      | before the first epoch |
/// | `s.device()`, `s.buffers()`          | where batches go; what a forward changes |
/// | `s.complete(batch)`                  | sets what a checkpoint left to a first batch: see `RunState::complete` |
/// | `s.forward(batch)`, `s.finite(result)`| losses with their graph; whether all are finite |
/// | `s.record_step(record, result, batch, options, first)` | shows a record the losses of a step's first or further batch |
/// | `s.backward(result, share, first)`   | adds the gradients, times share, to those of the step, which the first clears |
/// | `s.finish_gradients(factor)`         | multiplies what has added up; whether the step is to be made |
/// | `s.update()`, `s.skip()`             | the optimizers' step, which counts; a step that only counts |
/// | `s.write(history)`                   | columns that are not the record's |
template <class Subject>
class FitLoop {
  public:
    explicit FitLoop(Subject& subject) : subject_(subject), context_(subject.context()) {}

    template <class Source, class... Callbacks>
    void run(Source& source, const FitOptions& options, Callbacks&... callbacks) {
        static_assert(
            BatchSource<Source>,
            "retort: batches come from an input range of batches, or from a callable that takes the epoch "
            "(std::int64_t) and gives one");
        static_assert((Callback<Callbacks> && ...),
                      "retort: a callback has no hook: see retort/callback/concept.hpp for the names");
        check(options);
        const auto in_checkpoints = subject_.run_.during_fit(
            [&](Archive& archive) { archive_fit(archive, source, options, callbacks...); });
        try {
            run_checked(source, options, callbacks...);
        } catch (...) {
            sync();
            each([&](auto& callback) { return call_on_error(callback, context_); }, callbacks...);
            throw;
        }
    }

  private:
    template <class Source, class... Callbacks>
    void run_checked(Source& source, const FitOptions& options, Callbacks&... callbacks) {
        Progress& progress = subject_.progress_;
        auto& state = subject_.run_;
        context_.run = {[this] { return subject_.run_.snapshot(subject_); },
                        [this](const std::filesystem::path& path) { subject_.run_.resume(subject_, path); },
                        [this] { return subject_.run_.begun(subject_); }, subject_.device()};
        const bool by_hand = state.resumed;  // the user has brought back a state, and wants to go on with it
        sync();
        each([&](auto& callback) { return call_on_restore(callback, context_); }, callbacks...);
        const bool resumed = std::exchange(state.resumed, false);
        check_epochs(options, resumed);
        state.go_on(subject_);
        const bool over = resumed && !by_hand && state.stopped;
        state.stopped = over;
        progress.epochs = options.epochs;
        if (!state.record) progress.step = 0;
        for (const std::string& column : subject_.columns()) context_.claim(column);
        sync();
        bool go_on = ask([&](auto& callback) { return call_on_fit_begin(callback, context_); }, callbacks...);
        go_on = go_on && !over;
        subject_.begin_fit();
        while (go_on && progress.epoch < options.epochs) {
            try {
                go_on = epoch(source, options, callbacks...);
            } catch (...) {
                subject_.history_
                    .drop_row();  // a row is an epoch that has come to an end, or will in another fit
                progress.step = 0;
                state.record.reset();
                throw;
            }
            sync();
            context_.ending = !go_on || progress.epoch >= options.epochs;
            go_on = settled(callbacks...) && go_on;
        }
        sync();
        each([&](auto& callback) { return call_on_fit_end(callback, context_); }, callbacks...);
    }

    /// Calls every callback, in order; tells whether all say that the run goes on.
    template <class Call, class... Callbacks>
    static bool each(Call&& call, Callbacks&... callbacks) {
        bool go_on = true;
        ((go_on = call(callbacks) && go_on), ...);
        return go_on;
    }
    /// The same; a run that one of them stops is over.
    template <class Call, class... Callbacks>
    bool ask(Call&& call, Callbacks&... callbacks) {
        const bool go_on = each(call, callbacks...);
        if (!go_on) subject_.run_.stopped = true;
        return go_on;
    }
    /// Not so here: who stops the run at this moment has saved it in order to go on.
    template <class... Callbacks>
    bool settled(Callbacks&... callbacks) {
        return each([&](auto& callback) { return call_on_settled(callback, context_); }, callbacks...);
    }

    template <class Source, class... Callbacks>
    bool epoch(Source& source, const FitOptions& options, Callbacks&... callbacks) {
        Progress& progress = subject_.progress_;
        History& history = subject_.history_;
        auto& state = subject_.run_;
        const at::Device device = subject_.device();
        const bool under_way = state.record.has_value();
        context_.running = {};
        context_.ending = false;
        if (!under_way) {
            history.begin_row();
            history.set("epoch", static_cast<double>(progress.epoch));
            sync();
            if (!ask([&](auto& callback) { return call_on_epoch_begin(callback, context_); }, callbacks...)) {
                history.drop_row();
                return false;
            }
            state.record.emplace(subject_.record());
            state.batches = 0;
        }
        // Where an epoch's order is drawn from the program's random numbers, it must be drawn as it was.
        std::vector<at::Tensor> random = random_state(device);
        if (!under_way) {
            state.epoch_random = std::move(random);
        } else {
            set_random_state(state.epoch_random, device);
        }
        auto& record = *state.record;
        // What a checkpoint leaves to a first batch is due now, even where the epoch has no batch left: the last one
        // that was used serves for that.
        const bool look_back = state.incomplete() && state.batches > 0;
        const std::int64_t first = state.batches - (look_back ? 1 : 0);
        auto&& batches = batches_of_epoch(source, progress.epoch, first);
        constexpr bool seeks = SeekableSource<Source>;
        if (const std::int64_t count = batch_count(batches); count > 0)
            progress.steps_per_epoch =
                (count + (seeks ? first : 0) + options.accumulate - 1) / options.accumulate;
        bool go_on = true;
        bool ended = false;     // whether a step has found the end before it had all its batches
        bool complete = false;  // whether the range has ended; a stopped run asks it for no further batch
        auto it = std::ranges::begin(batches);
        using B = std::remove_cvref_t<decltype(*it)>;
        for (std::int64_t done = seeks ? first : 0; done < state.batches; ++done, ++it) {
            if (it == std::ranges::end(batches)) {
                throw DataError(concat("fit: expected the batches of epoch ", progress.epoch,
                                       " to be what they were, found ", done, " where ", state.batches,
                                       " have been used"));
            }
            const B passed_over(*it);
            if (look_back && done == first) subject_.complete(to_device(B(passed_over), device));
        }
        if (under_way) set_random_state(random, device);
        while (go_on) {
            complete = ended || it == std::ranges::end(batches);
            if (complete) break;
            const auto began = std::chrono::steady_clock::now();
            const Copies buffers =
                options.non_finite == NonFinite::skip ? copies_of(subject_.buffers()) : Copies{};
            bool finite = true;
            std::int64_t samples = 0, first_samples = 0;
            for (std::int64_t count = 0; count < options.accumulate; ++count) {
                if (count > 0) {
                    ++it;
                    ended = it == std::ranges::end(batches);
                    if (ended) break;
                }
                const B batch = to_device(B(*it), device);
                ++state.batches;
                if (!finite) continue;
                auto result = subject_.forward(batch);
                finite = options.non_finite != NonFinite::skip || subject_.finite(result);
                if (!finite) continue;
                subject_.record_step(record, result, batch, options, count == 0);
                const std::int64_t own = sample_count(batch);
                if (count == 0) first_samples = own;
                samples += own;
                // The step's mean is that of its batches, weighted by their samples; see below for the rest.
                subject_.backward(result, static_cast<double>(own) / static_cast<double>(first_samples),
                                  count == 0);
            }
            if (!finite) {
                restore(buffers);
                record.skip(/*seen=*/first_samples > 0);
                subject_.skip();
            } else if (!subject_.finish_gradients(static_cast<double>(first_samples) /
                                                  static_cast<double>(samples))) {
                record.skip(/*seen=*/true);
                subject_.skip();
            } else {
                sync();
                go_on =
                    ask([&](auto& callback) { return call_on_gradients(callback, context_); }, callbacks...);
                subject_.update();
            }
            record.add_seconds(
                std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
            sync();
            go_on = ask([&](auto& callback) { return call_on_step_end(callback, context_); }, callbacks...) &&
                    go_on;
            if (progress.step % options.report_every == 0) {
                context_.running = record.read();
                go_on =
                    ask([&](auto& callback) { return call_on_report(callback, context_); }, callbacks...) &&
                    go_on;
            }
            if (go_on) go_on = settled(callbacks...);
            if (go_on && !ended) ++it;
        }
        if (complete && progress.step == 0) {
            throw DataError(
                concat("fit: expected at least one batch in epoch ", progress.epoch, ", found none"));
        }
        if (complete) progress.steps_per_epoch = progress.step;
        context_.running = record.read();
        subject_.write(history);
        record.write(history);
        if (!complete) return false;  // another fit goes on here
        sync();
        go_on = ask([&](auto& callback) { return call_on_epoch_end(callback, context_); }, callbacks...);
        state.record.reset();
        ++progress.epoch;
        progress.step = 0;
        return go_on;
    }

    /// What checkpoints hold of `fit`: what the batches depend on, where the source says it, and the callbacks' state.
    template <class Source, class... Callbacks>
    static void archive_fit(Archive& archive, Source& source, const FitOptions& options,
                            Callbacks&... callbacks) {
        archive.expect("batches of a step", std::to_string(options.accumulate));
        if constexpr (requires { std::string(source.description()); })
            archive.expect("data", source.description());
        std::string names;
        [[maybe_unused]] const auto name = [&]<class C>(C&) {
            if constexpr (Checkpointed<C>)
                names.append(names.empty() ? "" : ", ").append(type_name<std::remove_cv_t<C>>());
        };
        (name(callbacks), ...);
        archive.expect("callbacks with state", names);
        [[maybe_unused]] std::size_t position = 0;
        (archive_policy(archive, std::to_string(position), callbacks, &position), ...);
    }

    void sync() { context_.progress = subject_.progress_; }

    static void check(const FitOptions& options) {
        if (options.epochs < 1) {
            throw ConfigError(concat("fit: expected at least 1 epoch, found ", options.epochs));
        }
        if (options.report_every < 1) {
            throw ConfigError(
                concat("fit: expected a report every 1 or more steps, found ", options.report_every));
        }
        if (options.accumulate < 1) {
            throw ConfigError(
                concat("fit: expected a step of 1 or more batches, found ", options.accumulate));
        }
    }
    /// A run that was brought back from a checkpoint may have come to its end already.
    void check_epochs(const FitOptions& options, bool resumed) const {
        const Progress& progress = subject_.progress_;
        const bool done = progress.epoch >= options.epochs;
        if (done && !(resumed && progress.epoch == options.epochs && !subject_.run_.record)) {
            throw ConfigError(
                concat("fit: ", options.epochs, " epochs were asked for, and ", progress.epoch,
                       " are done already; FitOptions::epochs counts all epochs of the training"));
        }
    }

    Subject& subject_;
    decltype(std::declval<Subject&>().context()) context_;
};

}  // namespace retort::detail
