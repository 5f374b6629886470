// SPDX-License-Identifier: BSL-1.0
/// \file
/// The numbers of an epoch, gathered on the device and read from it now and then.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/callback/history.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>
#include <retort/trainer/objective.hpp>

namespace retort::detail {

/// The numbers of an epoch: kept as tensors, read all at once.
class EpochRecord {
  public:
    EpochRecord(std::vector<std::string> names, const Progress& progress)
        : names_(std::move(names)),
          epoch_(progress.epoch),
          sums_(names_.size()),
          samples_(names_.size()),
          weights_(names_.size()) {}

    /// The columns that every epoch has, whether or not there is something to write into them.
    /// \throws ConfigError if a term has the name of another column
    static std::vector<std::string> columns(const std::vector<std::string>& names) {
        std::vector<std::string> result{"epoch", "learning_rate", "loss"};
        for (const std::string& name : names) {
            result.push_back(name);
            result.push_back("weight_" + name);
        }
        result.insert(result.end(), {"accuracy", "samples", "seconds", "samples_per_second"});
        check_columns(result);
        return result;
    }
    /// \throws ConfigError if two columns have one name
    static void check_columns(const std::vector<std::string>& columns) {
        for (auto name = columns.begin(); name != columns.end(); ++name) {
            if (std::find(columns.begin(), name, *name) != name) {
                throw ConfigError(concat("history: expected columns of different names, found \"", *name,
                                         "\" twice; give the term another name"));
            }
        }
    }

    /// \param right how many answers of the batch were right; undefined where nobody knows
    /// \param first whether it is the first batch of its step
    void add(const Losses& losses, const at::Tensor& right, std::int64_t samples, bool first = true) {
        if (first) ++steps_;
        Step step{steps_ - 1, samples, right.defined()};
        // `variable_data` shares the value and forgets the graph, without an operator.
        pending_.push_back(losses.total.variable_data());
        for (std::size_t i = 0; i < names_.size(); ++i) {
            weights_[i] = losses.weights[i];
            if (!losses.terms[i].defined()) continue;
            step.terms.push_back(i);
            pending_.push_back(losses.terms[i].variable_data());
        }
        if (right.defined()) pending_.push_back(right);
        step_.push_back(std::move(step));
    }
    /// \param seen whether a batch of the step was added
    void skip(bool seen) {
        ++skipped_;
        if (!seen) ++steps_;
    }
    void add_seconds(double seconds) { seconds_ += seconds; }

    /// Reads what has come since the last time. Waits for the device.
    /// \throws NonFiniteError with the name of the term and the step, if a loss is not finite
    Running read() {
        if (!pending_.empty()) {
            const at::NoGradGuard no_grad;
            for (at::Tensor& value : pending_) value = value.to(at::kDouble);
            const at::Tensor values = at::stack(pending_).cpu();
            const double* value = values.data_ptr<double>();
            for (const Step& step : step_) {
                const double total = *value++;
                for (const std::size_t term : step.terms) {
                    check(*value, step, names_[term]);
                    sums_[term] += *value++ * static_cast<double>(step.samples);
                    samples_[term] += step.samples;
                }
                check(total, step, "the weighted sum of the terms");
                total_ += total * static_cast<double>(step.samples);
                all_ += step.samples;
                if (step.counted) {
                    right_ += *value++;
                    counted_ += step.samples;
                }
            }
            pending_.clear();
            step_.clear();
        }
        return {mean(total_, all_), mean(right_, counted_), all_, seconds_};
    }

    /// Writes the columns of the epoch.
    void write(History& history) const {
        write_means(history);
        write_counts(history);
    }
    /// The columns `loss`, the terms with their weights, and `accuracy`; `suffix` ends `loss` and `accuracy`.
    void write_means(History& history, const std::string& suffix = {}) const {
        history.set("loss" + suffix, mean(total_, all_));
        for (std::size_t i = 0; i < names_.size(); ++i) {
            history.set(names_[i], mean(sums_[i], samples_[i]));
            history.set("weight_" + names_[i], weights_[i]);
        }
        history.set("accuracy" + suffix, mean(right_, counted_));
    }
    /// The columns that tell how much was done, and how fast.
    void write_counts(History& history) const {
        history.set("samples", static_cast<double>(all_));
        if (skipped_ > 0) history.set("skipped_steps", static_cast<double>(skipped_));
        history.set("seconds", seconds_);
        history.set("samples_per_second", static_cast<double>(all_) / seconds_);
    }

    /// Stores or sets the numbers of the epoch. Waits for the device.
    /// \throws NonFiniteError see `read`
    void checkpoint(Archive& archive) {
        if (archive.saving()) read();
        archive("sums", sums_);
        archive("term_samples", samples_);
        archive("weights", weights_);
        archive("total", total_);
        archive("right", right_);
        archive("seconds", seconds_);
        archive("samples", all_);
        archive("counted", counted_);
        archive("steps", steps_);
        archive("skipped", skipped_);
        if (archive.loading() && (sums_.size() != names_.size() || samples_.size() != names_.size() ||
                                  weights_.size() != names_.size())) {
            throw CheckpointError(
                concat(archive.where(), ": expected the means of ", names_.size(), " terms"));
        }
    }

  private:
    struct Step {
        std::int64_t number;
        std::int64_t samples;
        bool counted;
        std::vector<std::size_t> terms{};
    };
    static double mean(double sum, std::int64_t count) {
        return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
    }
    void check(double value, const Step& step, const std::string& what) const {
        if (!std::isfinite(value)) {
            throw NonFiniteError(concat(what, " is ", value, " in epoch ", epoch_, ", step ", step.number,
                                        " (both counted from 0); the parameters are no longer of use"));
        }
    }

    std::vector<std::string> names_;
    std::int64_t epoch_;
    std::vector<at::Tensor> pending_;
    std::vector<Step> step_;
    std::vector<double> sums_;
    std::vector<std::int64_t> samples_;
    std::vector<double> weights_;
    double total_ = 0;
    double right_ = 0;
    double seconds_ = 0;
    std::int64_t all_ = 0;
    std::int64_t counted_ = 0;
    std::int64_t steps_ = 0;
    std::int64_t skipped_ = 0;
};

}  // namespace retort::detail
