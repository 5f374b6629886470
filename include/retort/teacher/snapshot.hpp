// SPDX-License-Identifier: BSL-1.0
/// \file
/// The student at an earlier epoch as its teacher.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/core/network.hpp>
#include <retort/teacher/detail/state_pairs.hpp>
#include <retort/teacher/frozen.hpp>

namespace retort {

/// A teacher that is an earlier state of the student: self-distillation within one run.
///
///     Net student, past;
///     retort::Snapshot snapshot{past, student};
///     retort::Trainer trainer{student, snapshot, ...};
///     trainer.fit(batches, {.epochs = 200}, retort::TakeSnapshot{snapshot, {.every = 40}});
///
/// The past is a separate network of the same architecture, created by the user. It receives copies of the student's
/// parameters and buffers on construction and with every `take()`, and teaches as `Frozen` does. Until the first
/// `take()` it teaches as the student was on construction, usually untrained: let its term start later
/// (`Phases`), or grow from 0 (`Linear`).
///
/// Snapshots are taken by `TakeSnapshot`, or by a custom loop. Sources, for the idea: Yang, Xie, Su, Yuille,
/// "Snapshot distillation", CVPR 2019 (the last snapshot of each learning rate cycle teaches in the next cycle:
/// `TakeSnapshot` with the length of the cycle, `CosineRestarts`); Kim, Ji, Yoon, Hwang, "Self-knowledge distillation
/// with progressive refinement of targets", ICCV 2021 (the student of the previous epoch teaches, with a growing
/// weight: `TakeSnapshot` with every epoch, `Linear`).
///
/// Copies share the networks and the count of snapshots. Module objects must outlive it.
/// \throws ConfigError if the networks differ in the names, shapes or types of their parameters and buffers, or share
/// one
template <Network Past, Network Student>
class Snapshot {
  public:
    /// It changes during a run, though not with every step.
    static constexpr bool learns_along = true;

    template <class P, class S>
        requires std::same_as<std::remove_cvref_t<P>, Past> && std::same_as<std::remove_cvref_t<S>, Student>
    Snapshot(P&& past, S&& student) : past_(past), teacher_(std::forward<P>(past)), student_(student) {
        static_assert(
            !detail::ModuleObject<Student> || std::is_lvalue_reference_v<S>,
            "retort: a module object must outlive its teacher policy: pass a variable, a holder or a "
            "shared_ptr");
        copy();
    }

    template <class I>
        requires Forwards<Past, I>
    OutputsOf<Past, I> operator()(const I& value) const {
        return teacher_(value);
    }

    /// Makes the current student the teacher from now on.
    /// \throws ConfigError if the networks no longer match
    void take() {
        copy();
        ++*taken_;
    }
    /// The number of snapshots taken, not counting the initial copy.
    std::int64_t taken() const { return *taken_; }

    /// Stores or restores the past network.
    void checkpoint(Archive& archive) {
        detail::archive_module(archive, past_.module());
        archive("taken", *taken_);
    }

    std::vector<torch::nn::Module*> modules() const { return teacher_.modules(); }
    /// The network it takes snapshots of.
    torch::nn::Module& student() const { return student_.module(); }

  private:
    void copy() const { detail::copy_student("Snapshot", "snapshot", past_.module(), student_.module()); }

    NetworkRef<Past> past_;
    Frozen<Past> teacher_;
    NetworkRef<Student> student_;
    std::shared_ptr<std::int64_t> taken_ = std::make_shared<std::int64_t>(0);
};

template <class P, class S>
Snapshot(P&&, S&&) -> Snapshot<std::remove_cvref_t<P>, std::remove_cvref_t<S>>;

}  // namespace retort
