// SPDX-License-Identifier: BSL-1.0
/// \file
/// The loop over epochs and steps that all runs share.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
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
#include <retort/core/counted.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>
#include <retort/core/ranges.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/trainer/concept.hpp>
#include <retort/trainer/fit_options.hpp>

namespace retort::detail {

/// One call of `fit`: epochs and steps, callbacks, the history. The run defines what a step does: see `TrainingRun`.
template <class Run, class Source, class... Callbacks>
class FitLoop {
  public:
    /// \throws ConfigError if an option is out of range
    FitLoop(Run& run, Source& source, const FitOptions& options, Callbacks&... callbacks)
        : run_(run),
          state_(run.state()),
          history_(run.history()),
          device_(run.device()),
          source_(source),
          options_(options),
          callbacks_(callbacks...),
          context_{{state_.progress, history_, run.module(), run.parameters()}, run} {
        static_assert(TrainingRun<Run>);
        static_assert(
            BatchSource<std::remove_reference_t<Source>>,
            "retort: batches come from an input range of batches, or from a callable that takes the epoch "
            "(std::int64_t) and returns such a range");
        static_assert((Callback<Callbacks> && ...),
                      "retort: a callback has no hook: see retort/callback/concept.hpp for the names");
        check_options();
        context_.learners = [this] { return run_.learning_parameters(); };
        context_.run = {[this] { return state_.snapshot(run_); },
                        [this](const std::filesystem::path& path) { state_.resume(run_, path); },
                        [this] { return state_.begun(run_); }, device_};
    }
    FitLoop(const FitLoop&) = delete;
    FitLoop& operator=(const FitLoop&) = delete;

    void run() {
        const auto guard = state_.begin_fit([this](Archive& archive) { archive_fit(archive); });
        try {
            train();
        } catch (...) {
            call<hook::on_error>();
            throw;
        }
    }

  private:
    template <class Iterator>
    using BatchAt = std::remove_cvref_t<decltype(*std::declval<Iterator&>())>;

    void train() {
        if (begin()) {
            while (state_.progress.epoch < options_.epochs) {
                const bool proceed = epoch();
                context_.ending = !proceed || state_.progress.epoch >= options_.epochs;
                if (!settled() || !proceed) break;
            }
        }
        call<hook::on_fit_end>();
    }
    /// \returns whether there is something to train
    bool begin() {
        Progress& progress = state_.progress;
        const bool by_user = state_.resumed;  // the caller has resumed, to train from there
        call<hook::on_restore>();
        const bool resumed = std::exchange(state_.resumed, false);
        check_epochs(resumed);
        state_.resume_fit(run_);
        const bool over = resumed && !by_user && state_.stopped;
        state_.stopped = over;
        progress.epochs = options_.epochs;
        if (!state_.record) progress.step = 0;
        for (const std::string& column : run_.record().columns()) context_.claim(column);
        const bool proceed = ask<hook::on_fit_begin>();
        run_.begin_fit();
        return proceed && !over;
    }

    // The hooks of all callbacks, in order.

    /// \returns whether all say that the run continues
    template <class Hook>
    bool call() {
        context_.progress = state_.progress;
        return std::apply(
            [&](auto&... callbacks) {
                bool proceed = true;
                ((proceed = Hook::call(callbacks, context_) && proceed), ...);
                return proceed;
            },
            callbacks_);
    }
    /// The same; if a callback stops the run, the run is over.
    template <class Hook>
    bool ask() {
        const bool proceed = call<Hook>();
        if (!proceed) state_.stopped = true;
        return proceed;
    }
    /// Here it is not over: a callback that stops the run now has saved it to be resumed.
    bool settled() { return call<hook::on_settled>(); }

    /// \returns whether the run continues
    bool epoch() {
        try {
            return try_epoch();
        } catch (...) {
            // Rows are epochs that have ended, or that another fit can end.
            history_.drop_row();
            state_.progress.step = 0;
            state_.record.reset();
            throw;
        }
    }
    bool try_epoch() {
        context_.running = {};
        context_.ending = false;
        const bool resumed = state_.record.has_value();  // in the middle of the epoch
        if (!resumed && !begin_epoch()) return false;
        const std::vector<at::Tensor> random = random_state(device_);
        // If the order of an epoch is drawn from the global generators, it must be the same again.
        if (resumed) {
            set_random_state(state_.epoch_random, device_);
        } else {
            state_.epoch_random = random;
        }
        // What needs a first batch must be restored now, even if the epoch has no batch left: the last used batch
        // serves for that.
        const bool look_back = state_.incomplete() && state_.batches > 0;
        const std::int64_t first = state_.batches - (look_back ? 1 : 0);
        auto&& batches = batches_of_epoch(source_, state_.progress.epoch, first);
        count_steps(batches, first);
        auto it = std::ranges::begin(batches);
        const auto end = std::ranges::end(batches);
        skip_used(it, end, seeks ? first : 0, look_back);
        if (resumed) set_random_state(random, device_);
        const bool complete = steps(it, end);
        end_steps(complete);
        return complete && end_epoch();
    }
    bool begin_epoch() {
        history_.begin_row();
        history_.set("epoch", static_cast<double>(state_.progress.epoch));
        if (!ask<hook::on_epoch_begin>()) {
            history_.drop_row();
            return false;
        }
        state_.record.emplace(run_.record());
        state_.batches = 0;
        return true;
    }
    template <class Batches>
    void count_steps(Batches& batches, std::int64_t first) {
        const std::int64_t count = batch_count(batches);
        if (options_.steps_per_epoch > 0) {
            state_.progress.steps_per_epoch = options_.steps_per_epoch;
        } else if (count > 0) {
            const std::int64_t all = count + (seeks ? first : 0);
            state_.progress.steps_per_epoch = (all + options_.accumulate - 1) / options_.accumulate;
        }
    }
    /// Whether the epoch has all the steps of `FitOptions::steps_per_epoch`.
    bool has_all_steps() const {
        return options_.steps_per_epoch > 0 && state_.progress.step >= options_.steps_per_epoch;
    }
    /// Skips the batches that the epoch used before it was interrupted.
    /// \param number of the current batch
    template <class Iterator, class End>
    void skip_used(Iterator& it, const End& end, std::int64_t number, bool look_back) {
        for (; number < state_.batches; ++number, ++it) {
            if (it == end) {
                throw DataError(concat("fit: expected the batches of epoch ", state_.progress.epoch,
                                       " to be those of the interrupted run, found ", number, " where ",
                                       state_.batches, " have been used"));
            }
            BatchAt<Iterator> used(*it);
            if (look_back && number + 1 == state_.batches) run_.complete(to_device(std::move(used), device_));
        }
    }

    /// \returns whether the epoch has ended: a stopped run requests no further batch
    template <class Iterator, class End>
    bool steps(Iterator& it, const End& end) {
        bool ended = false;  // whether the range ended before a step had all its batches
        while (!ended && !has_all_steps() && it != end) {
            if (!step(it, end, ended)) return false;
            if (!ended && !has_all_steps()) ++it;
        }
        return true;
    }
    /// \returns whether the run continues
    template <class Iterator, class End>
    bool step(Iterator& it, const End& end, bool& ended) {
        const auto began = std::chrono::steady_clock::now();
        const bool skips = options_.non_finite == NonFinite::skip;
        const Copies buffers = skips ? copies_of(run_.buffers()) : Copies{};
        state_.record->begin_step();
        const Gathered gathered = gather(it, end);
        ended = gathered.ended;
        bool proceed = true;
        bool makes = gathered.finite && run_.finish_gradients(gathered.factor());
        if (makes && skips && !run_.finite_gradients()) {
            state_.record->drop_step();
            makes = false;
        }
        if (makes) {
            if (!skips) run_.record_gradients(*state_.record);
            proceed = ask<hook::on_gradients>();
            run_.update();
        } else {
            restore(buffers);
            state_.record->skip(gathered.seen);
            run_.skip();
        }
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
        state_.record->add_seconds(seconds.count());
        proceed = ask<hook::on_step_end>() && proceed;
        if (state_.progress.step % options_.report_every == 0) {
            context_.running = state_.record->read();
            proceed = ask<hook::on_report>() && proceed;
        }
        return proceed && settled();
    }
    /// The gradients of a step's batches.
    struct Gathered {
        bool finite = true;
        bool ended = false;  // the epoch, before the step had all its batches
        bool seen = false;   // whether a batch was added to the record
        double weight = 0;   // of all batches
        double unit = 0;     // of the first batch that has any: its gradients are not scaled
        /// What the sum of the gradients, in units of the first batch, is multiplied by.
        double factor() const { return weight > 0 ? unit / weight : 1; }
    };
    template <class Iterator, class End>
    Gathered gather(Iterator& it, const End& end) {
        using B = BatchAt<Iterator>;
        static_assert(TrainsOn<Run, B>);
        const bool skips = options_.non_finite == NonFinite::skip;
        Gathered step;
        for (std::int64_t count = 0; count < options_.accumulate; ++count) {
            if (count > 0) {
                ++it;
                step.ended = it == end;
                if (step.ended) break;
            }
            const B batch = to_device(B(*it), device_);
            ++state_.batches;
            if (!step.finite) continue;
            auto result = forward(batch);
            step.finite = result && (!skips || run_.finite(*result));
            if (!step.finite) continue;
            const Counted counted =
                run_.record_step(*state_.record, *result, batch, options_.train_accuracy, count == 0);
            step.seen = true;
            const double own = options_.accumulate > 1 ? weight_of(counted, sample_count(batch)) : 1;
            if (step.unit == 0) step.unit = own;
            step.weight += own;
            // The step's mean is that of its batches, weighted; `step` divides by all of the weight.
            run_.backward(*result, step.unit > 0 ? own / step.unit : 0.0, count == 0);
        }
        return step;
    }

    /// Of a batch; empty where a term refuses what is not finite, and such steps are skipped.
    /// \throws NonFiniteError with the step, if they are not
    template <class B>
    auto forward(const B& batch) {
        std::optional<decltype(run_.forward(batch))> result;
        try {
            result.emplace(run_.forward(batch));
        } catch (const NonFiniteError& error) {
            if (options_.non_finite != NonFinite::skip) {
                state_.record->read();  // names the loss that was the first, if an earlier step had one
                throw NonFiniteError(concat(error.what(), " in epoch ", state_.progress.epoch, ", step ",
                                            state_.progress.step,
                                            " (both counted from 0); the parameters may be corrupted"));
            }
        }
        return result;
    }
    /// The weight of a batch in a step of several.
    double weight_of(const Counted& counted, std::int64_t samples) const {
        if (options_.accumulate_by == AccumulateBy::samples) return static_cast<double>(samples);
        const auto predictions = static_cast<double>(counted.predictions);
        return counted.ignored.defined() ? predictions - counted.ignored.item<double>() : predictions;
    }

    /// Writes the columns known so far.
    void end_steps(bool complete) {
        Progress& progress = state_.progress;
        if (complete && progress.step == 0) {
            throw DataError(
                concat("fit: expected at least one batch in epoch ", progress.epoch, ", found none"));
        }
        if (complete && progress.step < options_.steps_per_epoch) {
            throw DataError(concat("fit: expected batches for the ", options_.steps_per_epoch,
                                   " steps of an epoch (FitOptions::steps_per_epoch), found ", progress.step,
                                   " steps in epoch ", progress.epoch));
        }
        if (complete) progress.steps_per_epoch = progress.step;
        context_.running = state_.record->read();
        run_.write(history_);
        state_.record->write(history_);
    }
    /// \returns whether the run continues
    bool end_epoch() {
        const bool proceed = ask<hook::on_epoch_end>();
        state_.record.reset();
        ++state_.progress.epoch;
        state_.progress.step = 0;
        return proceed;
    }

    /// The part of a checkpoint that belongs to `fit`: what the batches depend on, if the source describes it, and the
    /// callbacks' state.
    void archive_fit(Archive& archive) {
        archive.expect("batches of a step", std::to_string(options_.accumulate));
        if constexpr (requires { std::string(source_.description()); })
            archive.expect("data", source_.description());
        std::string names;
        [[maybe_unused]] const auto name = [&]<class C>(C&) {
            if constexpr (Checkpointed<C>)
                names.append(names.empty() ? "" : ", ").append(type_name<std::remove_cv_t<C>>());
        };
        std::apply([&](auto&... callbacks) { (name(callbacks), ...); }, callbacks_);
        archive.expect("callbacks with state", names);
        std::size_t position = 0;
        std::apply(
            [&](auto&... callbacks) {
                (archive_policy(archive, std::to_string(position), callbacks, &position), ...);
            },
            callbacks_);
    }

    void check_options() const {
        if (options_.epochs < 1) {
            throw ConfigError(concat("fit: expected at least 1 epoch, found ", options_.epochs));
        }
        if (options_.steps_per_epoch < 0) {
            throw ConfigError(
                concat("fit: expected 0 or more steps per epoch, found ", options_.steps_per_epoch));
        }
        if (options_.report_every < 1) {
            throw ConfigError(
                concat("fit: expected a report every 1 or more steps, found ", options_.report_every));
        }
        if (options_.accumulate < 1) {
            throw ConfigError(
                concat("fit: expected a step of 1 or more batches, found ", options_.accumulate));
        }
    }
    /// A run that has resumed from a checkpoint may have ended already.
    void check_epochs(bool resumed) const {
        const Progress& progress = state_.progress;
        const bool done = progress.epoch >= options_.epochs;
        if (done && !(resumed && progress.epoch == options_.epochs && !state_.record)) {
            throw ConfigError(concat("fit: expected more epochs than the ", progress.epoch,
                                     " that are already done, found ", options_.epochs,
                                     "; FitOptions::epochs counts all epochs of the training"));
        }
    }

    static constexpr bool seeks = SeekableSource<std::remove_reference_t<Source>>;

    Run& run_;
    std::remove_reference_t<decltype(std::declval<Run&>().state())>& state_;
    History& history_;
    const at::Device device_;
    Source& source_;
    const FitOptions options_;
    const std::tuple<Callbacks&...> callbacks_;
    FitContextOf<Run> context_;
};

}  // namespace retort::detail
