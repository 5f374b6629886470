// SPDX-License-Identifier: BSL-1.0
/// \file
/// Takes a `Snapshot` of the student during a run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/callback/concept.hpp>
#include <retort/callback/monitor.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/teacher/concept.hpp>
#include <retort/teacher/snapshot.hpp>

namespace retort {

/// Options of `TakeSnapshot`.
struct TakeSnapshotOptions {
    std::int64_t every = 1;  ///< take it at the end of every so many epochs; at least 1
    /// A column of the history: take it instead at the end of each epoch that has the best value so far in it. Place
    /// the callback that fills the column (such as `Validation`) before this one. Empty: none.
    std::string column{};
    Goal goal = Goal::maximize;  ///< what is better
};

/// Takes a `Snapshot` of the student, which teaches from the next epoch on: of the last epoch, of every N-th, or of
/// the best so far.
///
///     retort::TakeSnapshot{snapshot}                                      // the previous epoch
///     retort::TakeSnapshot{snapshot, {.every = 40}}                       // the last of every 40 epochs
///     retort::TakeSnapshot{snapshot, {.column = "validation_accuracy"}}   // the best so far
///
/// The snapshot is the teacher of the run, directly or as a member of an `Ensemble`. Within `WeightAverage::during`
/// it takes the average.
/// \throws ConfigError if `every` is below 1, or is combined with a column; at the beginning of `fit`, if the history
/// has no such column, the snapshot is of another network, or it does not teach in this run
template <class Past, class Student>
class TakeSnapshot {
  public:
    explicit TakeSnapshot(Snapshot<Past, Student> snapshot, TakeSnapshotOptions options = {})
        : snapshot_(std::move(snapshot)),
          options_(std::move(options)),
          monitor_(options_.column, options_.goal) {
        if (options_.every < 1) {
            throw ConfigError(detail::concat("TakeSnapshot: expected an interval of at least 1 epoch, found ",
                                             options_.every));
        }
        if (watches() && options_.every != 1) {
            throw ConfigError(
                detail::concat("TakeSnapshot: expected either a number of epochs or a column, found ",
                               options_.every, " and \"", options_.column, '"'));
        }
    }

    void on_fit_begin(auto& context) {
        if constexpr (requires { context.trainer.teacher(); }) {
            using Teacher = std::remove_cvref_t<decltype(context.trainer.teacher())>;
            static_assert(LearnsAlong<Teacher>,
                          "retort: TakeSnapshot is for a trainer whose teacher is the Snapshot: this "
                          "trainer's teacher never changes");
            const auto all = detail::teacher_modules(context.trainer.teacher());
            if (std::find(all.begin(), all.end(), snapshot_.modules().front()) == all.end()) {
                throw ConfigError(
                    "TakeSnapshot: expected the snapshot among the teachers of this run, found others");
            }
        }
        if (&context.student != &snapshot_.student()) {
            throw ConfigError(
                "TakeSnapshot: expected a snapshot of the network that is trained, found one of another "
                "network");
        }
        if (watches()) monitor_.check("TakeSnapshot", context.history);
    }
    void on_epoch_end(FitContext& context) {
        const bool due = watches() ? monitor_.judge("TakeSnapshot", context.history, 0.0, context.progress) ==
                                         detail::Monitor::Verdict::better
                                   : (context.progress.epoch + 1) % options_.every == 0;
        if (due) snapshot_.take();
    }

    /// Stores or restores the best value so far; the trainer stores the snapshot.
    void checkpoint(Archive& archive) {
        archive.expect("every", std::to_string(options_.every));
        monitor_.checkpoint(archive);
    }
    /// The best epoch so far (from 0), and its value. -1 and NaN before the first, and without a column.
    std::int64_t best_epoch() const { return monitor_.best_epoch(); }
    double best() const { return monitor_.best(); }

  private:
    bool watches() const { return !options_.column.empty(); }

    Snapshot<Past, Student> snapshot_;
    TakeSnapshotOptions options_;
    detail::Monitor monitor_;
};

}  // namespace retort
