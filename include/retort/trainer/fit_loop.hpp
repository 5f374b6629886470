// SPDX-License-Identifier: BSL-1.0
/// \file
/// The loop over epochs and steps, which all that has a `fit` shares.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/progress.hpp>
#include <retort/detail/check.hpp>
#include <retort/trainer/callback.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/history.hpp>
#include <retort/trainer/source.hpp>

namespace retort::detail {

/// How many answers of a batch are right: a tensor on its device; undefined where targets are no class
/// indices.
template <class Outputs, class B>
at::Tensor right_answers(const Outputs& outputs, const B& batch) {
    at::Tensor right;
    if constexpr (LabelledBatch<B> && HasLogits<Outputs>) {
        const auto& truth = target(batch);
        const auto& scores = logits(outputs);
        if (truth.defined() && truth.dim() == 1 && scores.dim() == 2 && truth.scalar_type() == at::kLong) {
            const at::NoGradGuard no_grad;
            right = scores.argmax(1).eq(truth).sum();
        }
    }
    return right;
}

/// The input of a batch.
///
/// \throws DataError if it has no samples
template <class B>
decltype(auto) input_of(const B& batch, const Progress& progress) {
    static_assert(Batch<B>,
                  "retort: this is no batch: expected a tensor, a pair or tuple of tensors, a member "
                  "`input` or `data`, or a "
                  "function input(batch) beside the type");
    const auto& value = input(batch);
    if (!value.defined() || value.dim() == 0 || value.size(0) == 0) {
        throw DataError(text("batch: expected at least one sample, found ", shape_text(value), " in epoch ",
                             progress.epoch, ", step ", progress.step));
    }
    return value;
}

/// The loop of `fit`: epochs and steps, callbacks, the history. What is trained, and how, is the subject's:
///
/// | expression                           | meaning |
/// |--------------------------------------|----------------------------------------------------------------|
/// | `s.progress_`, `s.history_`          | where the run stands, what was measured |
/// | `s.context()`                        | what callbacks see: a `FitContextOf` |
/// | `s.columns()`, `s.record()`          | the columns of the history; the numbers of an epoch (`EpochRecord`) |
/// | `s.begin_fit()`                      | before the first epoch |
/// | `s.device()`, `s.buffers()`          | where batches go; what a forward changes |
/// | `s.forward(batch)`, `s.finite(result)`| losses with their graph; whether all are finite |
/// | `s.record_step(record, result, batch, options)` | shows a record the losses |
/// | `s.backward(result)`, `s.update()`   | gradients; the optimisers' step, which counts |
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
                      "retort: a callback has no hook: see retort/trainer/callback.hpp for the names");
        Progress& progress = subject_.progress_;
        check(options, progress);
        progress.epochs = options.epochs;
        progress.step = 0;
        for (const std::string& column : subject_.columns()) context_.claim(column);
        sync();
        bool go_on =
            each([&](auto& callback) { return call_on_fit_begin(callback, context_); }, callbacks...);
        subject_.begin_fit();
        while (go_on && progress.epoch < options.epochs) {
            auto&& batches = batches_of_epoch(source, progress.epoch);
            if (const std::int64_t count = batch_count(batches); count > 0) progress.steps_per_epoch = count;
            subject_.history_.begin_row();
            try {
                go_on = epoch(batches, options, callbacks...);
            } catch (...) {
                subject_.history_.drop_row();  // a row is an epoch that was completed, or that a callback
                                               // ended
                progress.step = 0;
                throw;
            }
        }
        sync();
        each([&](auto& callback) { return call_on_fit_end(callback, context_); }, callbacks...);
    }

  private:
    /// Calls every callback, in order; tells whether all say that the run goes on.
    template <class Call, class... Callbacks>
    static bool each(Call&& call, Callbacks&... callbacks) {
        bool go_on = true;
        ((go_on = call(callbacks) && go_on), ...);
        return go_on;
    }

    template <class Batches, class... Callbacks>
    bool epoch(Batches& batches, const FitOptions& options, Callbacks&... callbacks) {
        Progress& progress = subject_.progress_;
        History& history = subject_.history_;
        history.set("epoch", static_cast<double>(progress.epoch));
        sync();
        context_.running = {};
        bool go_on =
            each([&](auto& callback) { return call_on_epoch_begin(callback, context_); }, callbacks...);
        const at::Device device = subject_.device();
        auto record = subject_.record();
        bool complete = false;  // whether the range has ended; a stopped run asks it for no further batch
        auto it = std::ranges::begin(batches);
        while (go_on) {
            complete = it == std::ranges::end(batches);
            if (complete) break;
            using B = std::remove_cvref_t<decltype(*it)>;
            const auto began = std::chrono::steady_clock::now();
            const B batch = to_device(B(*it), device);
            const auto buffers = options.non_finite == NonFinite::skip ? copy_buffers() : Copies{};
            auto result = subject_.forward(batch);
            if (options.non_finite == NonFinite::skip && !subject_.finite(result)) {
                const at::NoGradGuard no_grad;
                for (const auto& [buffer, copy] : buffers) buffer.copy_(copy);
                record.skip();
                ++progress.step;
            } else {
                subject_.record_step(record, result, batch, options);
                subject_.backward(result);
                sync();
                go_on =
                    each([&](auto& callback) { return call_on_gradients(callback, context_); }, callbacks...);
                subject_.update();
            }
            record.add_seconds(
                std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
            sync();
            go_on =
                each([&](auto& callback) { return call_on_step_end(callback, context_); }, callbacks...) &&
                go_on;
            if (progress.step % options.report_every == 0) {
                context_.running = record.read();
                go_on =
                    each([&](auto& callback) { return call_on_report(callback, context_); }, callbacks...) &&
                    go_on;
            }
            if (go_on) ++it;
        }
        if (complete && progress.step == 0) {
            throw DataError(
                text("fit: expected at least one batch in epoch ", progress.epoch, ", found none"));
        }
        if (complete) progress.steps_per_epoch = progress.step;
        context_.running = record.read();
        subject_.write(history);
        record.write(history);
        sync();
        go_on = each([&](auto& callback) { return call_on_epoch_end(callback, context_); }, callbacks...) &&
                go_on;
        ++progress.epoch;
        progress.step = 0;
        return go_on;
    }

    /// The buffers, each with a copy of itself: a forward changes them (batch norm's statistics), and they
    /// must not remember a step that is left out.
    using Copies = std::vector<std::pair<at::Tensor, at::Tensor>>;
    Copies copy_buffers() const {
        Copies result;
        for (const at::Tensor& buffer : subject_.buffers()) {
            if (buffer.defined()) result.emplace_back(buffer, buffer.detach().clone());
        }
        return result;
    }

    void sync() { context_.progress = subject_.progress_; }

    static void check(const FitOptions& options, const Progress& progress) {
        if (options.epochs < 1) {
            throw ConfigError(text("fit: expected at least 1 epoch, found ", options.epochs));
        }
        if (options.report_every < 1) {
            throw ConfigError(
                text("fit: expected a report every 1 or more steps, found ", options.report_every));
        }
        if (options.epochs <= progress.epoch) {
            throw ConfigError(
                text("fit: ", options.epochs, " epochs were asked for, and ", progress.epoch,
                     " are done already; FitOptions::epochs counts all epochs of the training"));
        }
    }

    Subject& subject_;
    decltype(std::declval<Subject&>().context()) context_;
};

}  // namespace retort::detail
