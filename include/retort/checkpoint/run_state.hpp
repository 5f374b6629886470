// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a run carries from step to step beside what is trained, and how all of it is saved and resumed.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/directory.hpp>
#include <retort/checkpoint/file.hpp>
#include <retort/checkpoint/random_state.hpp>
#include <retort/core/error.hpp>

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

/// What a run carries from step to step beside what is trained. A checkpoint has three parts: what is there from the
/// start (`s.archive`), what the first batch builds (`s.archive_built`), and what belongs to `fit` (callbacks, data).
/// Each is compared as a whole before it changes anything. The subject `s`, as in `FitLoop`, has:
///
/// | expression              | meaning                                                                            |
/// |-------------------------|------------------------------------------------------------------------------------|
/// | `s.archive(a)`          | stores, compares or sets what is there from the start                              |
/// | `s.built()`             | whether learnable parts and optimizers are there                                   |
/// | `s.sized()`             | whether they can be built without a batch                                          |
/// | `s.build()`             | builds them, where all have their sizes                                            |
/// | `s.archive_built(a)`    | stores, compares or sets them                                                      |
/// | `s.device()`, `s.buffers()`, `s.progress_`, `s.history_` | as in `FitLoop`                                   |
template <class Record>
class RunState {
  public:
    std::optional<Record> record{};          ///< of the epoch under way
    std::int64_t batches = 0;                ///< of that epoch, that its steps have used
    std::vector<at::Tensor> epoch_random{};  ///< random generators before that epoch's batches were asked for
    bool stopped = false;                    ///< a callback ended the run
    bool resumed = false;                    ///< and not yet gone on

    /// All state, copied on its device.
    template <class Subject>
    StateItems snapshot(Subject& s) {
        if (incomplete()) return pending_->items;  // nothing has happened since it was read
        StateItems items;
        Archive archive(items);
        archive_start(archive, s);
        if (s.built()) archive.in("built", [&] { s.archive_built(archive); });
        if (fit_) archive.in("fit", [&] { fit_(archive); });
        return items;
    }

    /// Sets what can be set before the first batch; keeps the rest.
    /// \throws CheckpointError
    template <class Subject>
    void resume(Subject& s, const std::filesystem::path& path) {
        const std::filesystem::path file =
            std::filesystem::is_directory(path) ? newest_checkpoint(path) : path;
        auto pending = std::make_shared<Pending>(Pending{read_state(file), file.string()});
        const bool has_built = Archive(pending->items, false, pending->where).has("built");
        load_or_check(*pending, false, [&](Archive& archive) { archive_start(archive, s); });
        if (s.built() && !has_built) {
            throw CheckpointError(
                concat(pending->where,
                       ": was made before the first step, which is behind this trainer; a new one can "
                       "go on from it"));
        }
        if (has_built && !s.built() && s.sized()) s.build();
        load(*pending, [&](Archive& archive) {
            archive_start(archive, s);
            if (has_built && s.built()) archive.in("built", [&] { s.archive_built(archive); });
        });
        pending->rest = has_built && !s.built();
        pending->fit = Archive(pending->items, false, pending->where).has("fit");
        pending_ = std::move(pending);
        resumed = true;
    }
    /// Whether a step was done, or a checkpoint was taken up.
    template <class Subject>
    bool begun(const Subject& s) const {
        return resumed || s.progress_.epoch > 0 || s.progress_.step > 0 || !s.history_.empty();
    }
    /// Whether a first batch is needed for the rest of a checkpoint.
    bool incomplete() const { return pending_ != nullptr && pending_->rest; }
    /// Sets the rest: `size()` runs the networks on a first batch, so that all parts get their sizes. It leaves no
    /// other trace.
    template <class Subject, class Size>
    void complete(Subject& s, Size&& size) {
        const std::vector<at::Tensor> random = random_state(s.device());
        const Copies buffers = copies_of(s.buffers());
        size();
        restore(buffers);
        set_random_state(random, s.device());
        s.build();
        load(*pending_, [&](Archive& archive) { archive.in("built", [&] { s.archive_built(archive); }); });
        pending_->rest = false;
    }

    /// While the result lives, checkpoints hold what `archive` stores of `fit`.
    template <class Function>
    auto during_fit(Function archive) {
        fit_ = std::move(archive);
        teacher_hash_.clear();
        struct End {
            RunState* state;
            ~End() { state->fit_ = nullptr; }
            End(RunState* of) : state(of) {}
            End(const End&) = delete;
            End& operator=(const End&) = delete;
        };
        return std::make_unique<End>(this);
    }
    /// Where the hash of the teacher is kept during a `fit`, in which it does not change; null at other times.
    std::string* teacher_hash() { return fit_ ? &teacher_hash_ : nullptr; }
    /// Sets what a checkpoint holds of `fit`, and once more the random generators: what has drawn from them since it
    /// was read does not matter.
    template <class Subject>
    void go_on(Subject& s) {
        if (pending_ == nullptr) return;
        if (std::exchange(pending_->fit, false)) {
            load(*pending_, [&](Archive& archive) { archive.in("fit", [&] { fit_(archive); }); });
        }
        set_random(std::exchange(random_, {}), s);
        if (!pending_->rest) pending_.reset();
    }

  private:
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
    template <class Subject>
    static void set_random(const std::vector<at::Tensor>& states, Subject& s) {
        try {
            set_random_state(states, s.device());
        } catch (const c10::Error& error) {
            throw CheckpointError(concat("random generators: ", error.what_without_backtrace()));
        }
    }

    template <class Subject>
    void archive_start(Archive& archive, Subject& s) {
        archive.in("composition", [&] {
            archive.expect("LibTorch", TORCH_VERSION);
            archive.expect("device", s.device().is_cpu() ? "cpu" : "cuda");
        });
        s.archive(archive);
        archive.in("run", [&] {
            archive("epoch", s.progress_.epoch);
            archive("step", s.progress_.step);
            archive("steps_per_epoch", s.progress_.steps_per_epoch);
            archive("stopped", stopped);
            bool under_way = record.has_value();
            archive.now("under_way", under_way);
            if (under_way) {
                std::optional<Record> read;
                if (!archive.saving()) read.emplace(s.record());
                archive.in("record", [&] { (read ? *read : *record).checkpoint(archive); });
                if (archive.loading()) record = std::move(read);
                archive("batches", batches);
                archive_random(archive, "epoch_random", s, epoch_random);
            } else if (archive.loading()) {
                record.reset();
            }
            std::vector<at::Tensor> random;
            if (archive.saving()) random = random_state(s.device());
            archive_random(archive, "random", s, random);
            if (archive.loading()) {
                set_random(random, s);
                random_ = std::move(random);
            }
        });
        archive.in("history", [&] { s.history_.checkpoint(archive); });
    }

    /// As many states as there are generators, of their sizes.
    template <class Subject>
    static void archive_random(Archive& archive, const char* name, Subject& s,
                               std::vector<at::Tensor>& states) {
        std::vector<at::Tensor> own = archive.saving() ? states : random_state(s.device());
        archive.in(name, [&] {
            for (std::size_t i = 0; i < own.size(); ++i) archive(std::to_string(i), own[i]);
        });
        if (archive.loading()) states = std::move(own);
    }

    std::shared_ptr<Pending> pending_;
    std::function<void(Archive&)> fit_;
    std::string teacher_hash_;
    std::vector<at::Tensor> random_;  // as the checkpoint had them; empty once the run goes on
};

}  // namespace retort::detail
