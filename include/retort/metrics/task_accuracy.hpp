// SPDX-License-Identifier: BSL-1.0
/// \file
/// Accuracy over tasks that are learned one after the other: forgetting and transfer.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>

namespace retort::metrics {

/// The accuracies of a learner that learns several tasks one after the other, from an evaluation on all tasks after each.
///
///     retort::metrics::TaskAccuracy tasks(3);
///     tasks.baseline({0.1, 0.1, 0.1});          // untrained; only forward transfer needs it
///     tasks.record({0.9, 0.2, 0.1}, {0});       // after task 0
///     tasks.record({0.8, 0.9, 0.1}, {1});
///     tasks.forgetting();                       // 0.1
///
/// NaN: not evaluated. What was not evaluated is left out of every mean; a mean of nothing is NaN. Keeps a few numbers per
/// task, however many evaluations there are.
/// Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", 2017 (transfer; their code divides by
/// the number of all tasks, one of which is 0 by definition; here only the tasks that count); Chaudhry et al., "Riemannian
/// Walk for Incremental Learning", 2018 (forgetting).
class TaskAccuracy {
  public:
    /// What forgetting compares the present accuracy with.
    enum class Reference {
        best,   ///< the best since the task was learned
        first,  ///< the one right after it was learned (Avalanche)
    };

    explicit TaskAccuracy(std::size_t tasks)
        : baseline_(tasks, none),
          before_(tasks, none),
          first_(tasks, none),
          best_(tasks, none),
          latest_(tasks, none),
          learned_(tasks, -1) {}

    /// The accuracies before anything was learned.
    void baseline(const std::vector<double>& accuracy) {
        check(accuracy.size());
        baseline_ = accuracy;
    }
    /// The accuracies of an evaluation.
    /// \param accuracy one for each task; NaN: not evaluated
    /// \param learned the tasks that were learned since the evaluation before
    /// \throws ConfigError if there are not as many as tasks, or a task was learned before
    void record(const std::vector<double>& accuracy, const std::vector<std::size_t>& learned = {}) {
        check(accuracy.size());
        for (const std::size_t task : learned) {
            if (task >= learned_.size() || learned_[task] >= 0) {
                throw ConfigError(::retort::detail::concat("task accuracy: expected a task below ",
                                                           learned_.size(),
                                                           " that was not learned yet, found ", task));
            }
        }
        for (const std::size_t task : learned) {
            learned_[task] = evaluations_;
            if (evaluations_ > 0) before_[task] = latest_[task];
        }
        for (std::size_t task = 0; task < learned_.size(); ++task) {
            const bool learned_before = learned_[task] >= 0 && learned_[task] < evaluations_;
            // The best is that of the evaluations before this one.
            if (learned_before && !std::isnan(latest_[task]) && !(best_[task] >= latest_[task]))
                best_[task] = latest_[task];
            if (learned_[task] == evaluations_) first_[task] = accuracy[task];
        }
        latest_ = accuracy;
        ++evaluations_;
    }

    std::size_t tasks() const { return learned_.size(); }
    std::int64_t evaluations() const { return evaluations_; }
    /// The accuracies of the last evaluation.
    const std::vector<double>& latest() const { return latest_; }
    bool learned(std::size_t task) const { return learned_.at(task) >= 0; }

    /// The mean accuracy of the last evaluation over all tasks.
    double average() const {
        return mean([&](std::size_t task) { return latest_[task]; });
    }
    /// The same over the tasks that were learned.
    double average_learned() const {
        return mean([&](std::size_t task) { return learned_[task] >= 0 ? latest_[task] : none; });
    }
    /// How much of a task was forgotten: the reference minus the present accuracy; below 0 where it improved. NaN if it was
    /// not learned before the last evaluation, or not evaluated.
    double forgetting(std::size_t task, Reference reference = Reference::best) const {
        if (!earlier(task)) return none;
        return (reference == Reference::best ? best_ : first_)[task] - latest_[task];
    }
    /// The mean over the tasks that were learned before the last evaluation.
    double forgetting(Reference reference = Reference::best) const {
        return mean([&](std::size_t task) { return forgetting(task, reference); });
    }
    /// The mean over the same tasks of the present accuracy minus the one right after learning.
    double backward_transfer() const { return -forgetting(Reference::first); }
    /// The mean over the tasks learned since the second evaluation of the accuracy right before learning minus the baseline.
    double forward_transfer() const {
        return mean(
            [&](std::size_t task) { return learned_[task] > 0 ? before_[task] - baseline_[task] : none; });
    }

    void checkpoint(Archive& archive) {
        archive("evaluations", evaluations_);
        archive("baseline", baseline_);
        archive("before", before_);
        archive("first", first_);
        archive("best", best_);
        archive("latest", latest_);
        archive("learned", learned_);
    }

  private:
    static constexpr double none = std::numeric_limits<double>::quiet_NaN();

    bool earlier(std::size_t task) const {
        return learned_.at(task) >= 0 && learned_[task] < evaluations_ - 1;
    }
    void check(std::size_t count) const {
        if (count != learned_.size()) {
            throw ConfigError(::retort::detail::concat("task accuracy: expected ", learned_.size(),
                                                       " accuracies, one for each task, found ", count));
        }
    }
    template <class Value>
    double mean(Value&& value) const {
        double sum = 0;
        int count = 0;
        for (std::size_t task = 0; task < learned_.size(); ++task) {
            const double each = value(task);
            if (std::isnan(each)) continue;
            sum += each;
            ++count;
        }
        return count > 0 ? sum / count : none;
    }

    std::vector<double> baseline_, before_, first_, best_, latest_;
    std::vector<std::int64_t> learned_;  // in which evaluation; -1: not yet
    std::int64_t evaluations_ = 0;
};

}  // namespace retort::metrics
