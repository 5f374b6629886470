// SPDX-License-Identifier: BSL-1.0
/// \file
/// The state of a run apart from what it trains, and how everything is saved and resumed.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/directory.hpp>
#include <retort/checkpoint/file.hpp>
#include <retort/checkpoint/random_state.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>

namespace retort::detail {

/// Tensors, each with a copy of itself.
using Copies = std::vector<std::pair<at::Tensor, at::Tensor>>;
inline Copies copies_of(const std::vector<at::Tensor>& tensors) {
    Copies result;
    for (const at::Tensor& tensor : tensors) {
        if (tensor.defined()) result.emplace_back(tensor, tensor.detach().clone());
    }
    return result;
}
inline void restore(const Copies& copies) {
    const at::NoGradGuard no_grad;
    for (const auto& [tensor, copy] : copies) tensor.detach().copy_(copy);
}

/// What `RunState` requires of a run: what is saved, and how it is restored.
///
/// | expression              | meaning                                                                            |
/// |-------------------------|------------------------------------------------------------------------------------|
/// | `run.archive(a)`        | stores, compares or sets what exists from the start: networks, the composition     |
/// | `run.built()`           | whether the optimizers exist                                                       |
/// | `run.sized()`           | whether they can be built without a batch: all learnable parts have their sizes    |
/// | `run.build()`           | builds them; all learnable parts have their sizes                                  |
/// | `run.archive_built(a)`  | stores, compares or sets them, the learnable parts included                        |
/// | `run.record()`          | an empty record of an epoch; it has `checkpoint(archive)`                          |
/// | `run.history()`         | what was measured; it has `checkpoint(archive)` and `empty()`                      |
/// | `run.device()`          | where the networks are                                                             |
/// | `run.buffers()`         | what a forward pass changes                                                        |
template <class R>
concept StoredRun = requires(R& run, Archive& archive) {
    run.archive(archive);
    { run.built() } -> std::same_as<bool>;
    { run.sized() } -> std::same_as<bool>;
    run.build();
    run.archive_built(archive);
    requires Checkpointed<std::remove_cvref_t<decltype(run.record())>>;
    requires Checkpointed<std::remove_cvref_t<decltype(run.history())>>;
    { run.history().empty() } -> std::same_as<bool>;
    { run.device() } -> std::same_as<at::Device>;
    { run.buffers() } -> std::same_as<std::vector<at::Tensor>>;
};

/// The state of a run apart from what it trains. A checkpoint has three parts: what exists from the
/// start (`run.archive`), what the first batch builds (`run.archive_built`), and what belongs to `fit` (callbacks,
/// data). Each is compared as a whole before it changes anything.
template <class Record>
class RunState {
  public:
    Progress progress{};
    std::optional<Record> record{};          ///< of the current epoch
    std::int64_t batches = 0;                ///< of that epoch, used by its steps
    std::vector<at::Tensor> epoch_random{};  ///< random generators before that epoch's batches were requested
    bool stopped = false;                    ///< a callback ended the run
    bool resumed = false;                    ///< from a checkpoint, and no `fit` has begun since

    /// All state, copied on its device.
    template <StoredRun Run>
    StateItems snapshot(Run& run) {
        if (incomplete()) return pending_->items;  // nothing has happened since it was read
        StateItems items;
        Archive archive(items);
        archive_start(archive, run);
        if (run.built()) archive.in("built", [&] { run.archive_built(archive); });
        if (archive_fit_) archive.in("fit", [&] { archive_fit_(archive); });
        return items;
    }

    /// Sets what can be set before the first batch; keeps the rest for later.
    /// \throws CheckpointError; ConfigError if a `fit` is under way, and has called `on_restore` already
    template <StoredRun Run>
    void resume(Run& run, const std::filesystem::path& path) {
        if (fit_ == Fit::training) {
            throw ConfigError(
                "resume: expected no fit of this run to be under way, found one: of its hooks, only "
                "on_restore can "
                "resume from a checkpoint");
        }
        const std::filesystem::path file =
            std::filesystem::is_directory(path) ? newest_checkpoint(path) : path;
        auto pending = std::make_shared<Pending>(Pending{read_state(file), file.string()});
        const bool has_built = Archive(pending->items, false, pending->where).has("built");
        load_or_check(*pending, false, [&](Archive& archive) { archive_start(archive, run); });
        if (run.built() && !has_built) {
            throw CheckpointError(
                concat(pending->where,
                       ": was made before the first step, and this run has made one; a new run "
                       "can resume from it"));
        }
        if (has_built && !run.built() && run.sized()) run.build();
        load(*pending, [&](Archive& archive) {
            archive_start(archive, run);
            if (has_built && run.built()) archive.in("built", [&] { run.archive_built(archive); });
        });
        pending->rest = has_built && !run.built();
        pending->fit = Archive(pending->items, false, pending->where).has("fit");
        pending_ = std::move(pending);
        resumed = true;
    }
    /// Whether a step was made, or a checkpoint resumed.
    template <StoredRun Run>
    bool begun(Run& run) const {
        return resumed || progress.epoch > 0 || progress.step > 0 || !run.history().empty();
    }
    /// Whether the rest of a checkpoint waits for a first batch.
    bool incomplete() const { return pending_ != nullptr && pending_->rest; }
    /// Sets the rest: `size()` runs the networks on a first batch, so that all parts get their sizes. It has no other
    /// side effects.
    template <StoredRun Run, class Size>
    void complete(Run& run, Size&& size) {
        const std::vector<at::Tensor> random = random_state(run.device());
        const Copies buffers = copies_of(run.buffers());
        size();
        restore(buffers);
        set_random_state(random, run.device());
        run.build();
        load(*pending_, [&](Archive& archive) { archive.in("built", [&] { run.archive_built(archive); }); });
        pending_->rest = false;
    }

    /// Marks a `fit` as under way while it lives.
    class FitGuard {
      public:
        explicit FitGuard(RunState& state) : state_(state) {}
        FitGuard(const FitGuard&) = delete;
        FitGuard& operator=(const FitGuard&) = delete;
        ~FitGuard() {
            state_.fit_ = Fit::none;
            state_.archive_fit_ = nullptr;
        }

      private:
        RunState& state_;
    };
    /// Begins a `fit`: while the result lives, checkpoints hold what `archive` stores of it, and no other can begin.
    /// \throws ConfigError if one is under way
    template <class Function>
    [[nodiscard]] FitGuard begin_fit(Function archive) {
        if (fit_ != Fit::none) {
            throw ConfigError(
                "fit: expected no fit of this run to be under way, found one: its hooks cannot call fit");
        }
        archive_fit_ = std::move(archive);
        fit_ = Fit::restoring;
        teacher_hash_.clear();
        return FitGuard(*this);
    }
    /// Sets the part of a checkpoint that belongs to `fit`, and the random generators once more: random numbers drawn
    /// since it was read do not matter. From here on the run cannot resume from another checkpoint.
    template <StoredRun Run>
    void resume_fit(Run& run) {
        fit_ = Fit::training;
        if (pending_ == nullptr) return;
        if (std::exchange(pending_->fit, false)) {
            load(*pending_, [&](Archive& archive) { archive.in("fit", [&] { archive_fit_(archive); }); });
        }
        set_random(std::exchange(random_, {}), run);
        if (!pending_->rest) pending_.reset();
    }
    /// Where the hash of the teacher is kept during a `fit`, in which it does not change; null at other times.
    std::string* teacher_hash() { return fit_ == Fit::none ? nullptr : &teacher_hash_; }

  private:
    enum class Fit { none, restoring, training };
    struct Pending {
        StateItems items;
        std::string where;
        bool rest = false;
        bool fit = false;
    };

    template <class Function>
    static void load(const Pending& pending, Function&& function) {
        for (const bool really : {false, true}) load_or_check(pending, really, function);
    }
    template <class Function>
    static void load_or_check(const Pending& pending, bool load, Function&& function) {
        try {
            Archive archive(pending.items, load, pending.where);
            function(archive);
        } catch (const c10::Error& error) {
            throw CheckpointError(concat(pending.where, ": ", error.what_without_backtrace()));
        }
    }
    template <class Run>
    static void set_random(const std::vector<at::Tensor>& states, Run& run) {
        try {
            set_random_state(states, run.device());
        } catch (const c10::Error& error) {
            throw CheckpointError(concat("random generators: ", error.what_without_backtrace()));
        }
    }

    template <class Run>
    void archive_start(Archive& archive, Run& run) {
        archive.in("composition", [&] {
            archive.expect("LibTorch", TORCH_VERSION);
            archive.expect("device", run.device().is_cpu() ? "cpu" : "cuda");
        });
        run.archive(archive);
        archive.in("run", [&] {
            archive("epoch", progress.epoch);
            archive("step", progress.step);
            archive("steps_per_epoch", progress.steps_per_epoch);
            archive("stopped", stopped);
            bool under_way = record.has_value();
            archive.now("under_way", under_way);
            if (under_way) {
                std::optional<Record> read;
                if (!archive.saving()) read.emplace(run.record());
                archive.in("record", [&] { (read ? *read : *record).checkpoint(archive); });
                if (archive.loading()) record = std::move(read);
                archive("batches", batches);
                archive_random(archive, "epoch_random", run, epoch_random);
            } else if (archive.loading()) {
                record.reset();
            }
            std::vector<at::Tensor> random;
            if (archive.saving()) random = random_state(run.device());
            archive_random(archive, "random", run, random);
            if (archive.loading()) {
                set_random(random, run);
                random_ = std::move(random);
            }
        });
        archive.in("history", [&] { run.history().checkpoint(archive); });
    }

    /// One state for each generator, of its size.
    template <class Run>
    static void archive_random(Archive& archive, const char* name, Run& run,
                               std::vector<at::Tensor>& states) {
        std::vector<at::Tensor> own = archive.saving() ? states : random_state(run.device());
        archive.in(name, [&] {
            for (std::size_t i = 0; i < own.size(); ++i) archive.now(std::to_string(i), own[i]);
        });
        if (archive.checking()) check_random(archive, name, own, run.device());
        if (archive.loading()) states = std::move(own);
    }

    /// Whether generators accept these states: tried on copies, as a checkpoint that does not fit changes nothing.
    static void check_random(const Archive& archive, const char* name, const std::vector<at::Tensor>& states,
                             at::Device device) {
        std::size_t i = 0;
        for (at::Generator& generator : generators_of(device)) {
            try {
                generator.clone().set_state(states[i++]);
            } catch (const c10::Error& error) {
                throw CheckpointError(
                    concat(archive.where(), ": run/", name, ": ", error.what_without_backtrace()));
            }
        }
    }

    std::shared_ptr<Pending> pending_;
    Fit fit_ = Fit::none;
    std::function<void(Archive&)> archive_fit_;
    std::string teacher_hash_;
    std::vector<at::Tensor> random_;  // as the checkpoint had them; empty once the run has resumed
};

}  // namespace retort::detail
