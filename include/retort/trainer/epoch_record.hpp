// SPDX-License-Identifier: BSL-1.0
/// \file
/// The statistics of an epoch, accumulated on the device and read from it occasionally.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/callback/history.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/core/counted.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>
#include <retort/trainer/losses.hpp>

namespace retort::detail {

/// The statistics of an epoch of one learner: kept as tensors, read all at once.
class EpochRecord {
  public:
    EpochRecord(std::vector<std::string> names, const Progress& progress)
        : names_(std::move(names)),
          epoch_(progress.epoch),
          sums_(names_.size()),
          predictions_of_(names_.size()),
          weights_(names_.size()) {}

    /// The names of the terms.
    const std::vector<std::string>& names() const { return names_; }

    void begin_step() { step_begin_ = {pending_.size(), step_.size()}; }
    /// \param counted the predictions of the batch, which the means are over
    /// \param first whether it is the first batch of its step
    void add(const Losses& losses, const Counted& counted, std::int64_t samples, bool first = true) {
        if (first) ++steps_;
        Step step{steps_ - 1, samples, counted.predictions, counted.ignored.defined(),
                  counted.right.defined()};
        if (counted.ignored.defined()) pending_.push_back(counted.ignored);
        // `variable_data` shares the value without the graph, and issues no operator.
        pending_.push_back(losses.total.variable_data());
        for (std::size_t i = 0; i < names_.size(); ++i) {
            weights_[i] = losses.weights[i];
            if (!losses.terms[i].defined()) continue;
            step.terms.push_back(i);
            pending_.push_back(losses.terms[i].variable_data());
        }
        if (counted.right.defined()) pending_.push_back(counted.right);
        step_.push_back(std::move(step));
    }
    /// Adds whether a gradient of the step is NaN or infinite, see `non_finite`.
    void add_gradients(const at::Tensor& non_finite) {
        if (!non_finite.defined()) return;
        step_.back().has_flag = true;
        pending_.push_back(non_finite);
    }
    /// \param seen whether a batch of the step was added
    void skip(bool seen) {
        ++skipped_;
        if (!seen) ++steps_;
    }
    /// Leaves out what was added since `begin_step`.
    void drop_step() {
        pending_.resize(step_begin_.first);
        step_.resize(step_begin_.second);
    }
    void add_seconds(double seconds) { seconds_ += seconds; }

    /// Reads what was added since the last call. Waits for the device.
    /// \throws NonFiniteError with the name of the term and the step, if a loss is not finite
    Running read() {
        if (!pending_.empty()) {
            const at::NoGradGuard no_grad;
            for (at::Tensor& value : pending_) value = value.to(at::kDouble);
            const at::Tensor values = at::stack(pending_).cpu();
            const double* value = values.data_ptr<double>();
            for (const Step& step : step_) {
                std::int64_t predictions = step.predictions;
                if (step.has_ignored) predictions -= static_cast<std::int64_t>(*value++);
                const double total = *value++;
                for (const std::size_t term : step.terms) {
                    check(*value, step, names_[term]);
                    sums_[term] += *value++ * static_cast<double>(predictions);
                    predictions_of_[term] += predictions;
                }
                check(total, step, "the weighted sum of the terms");
                total_ += total * static_cast<double>(predictions);
                predictions_ += predictions;
                all_ += step.samples;
                if (step.has_right) {
                    right_ += *value++;
                    counted_ += predictions;
                }
                if (step.has_flag && *value++ != 0) {
                    throw NonFiniteError(concat("a gradient is NaN or infinite in epoch ", epoch_, ", step ",
                                                step.number, " (both counted from 0), where the loss is ",
                                                total, "; the parameters may be corrupted"));
                }
            }
            pending_.clear();
            step_.clear();
        }
        return {mean(total_, predictions_), mean(right_, counted_), all_, seconds_};
    }

    /// The columns `loss`, the terms with their weights, and `accuracy`; `suffix` is appended to `loss` and `accuracy`.
    void write_means(History& history, const std::string& suffix) const {
        set_mean(history, "loss" + suffix, total_, predictions_);
        for (std::size_t i = 0; i < names_.size(); ++i) {
            set_mean(history, names_[i], sums_[i], predictions_of_[i]);
            history.set("weight_" + names_[i], weights_[i]);
        }
        set_mean(history, "accuracy" + suffix, right_, counted_);
    }
    /// The columns for the amount and the speed of the work.
    void write_counts(History& history) const {
        history.set("samples", static_cast<double>(all_));
        if (skipped_ > 0) history.set("skipped_steps", static_cast<double>(skipped_));
        history.set("seconds", seconds_);
        history.set("samples_per_second", static_cast<double>(all_) / seconds_);
    }

    /// Stores or sets the statistics of the epoch. Waits for the device.
    /// \throws NonFiniteError see `read`
    void checkpoint(Archive& archive) {
        if (archive.saving()) read();
        archive("sums", sums_);
        archive("term_predictions", predictions_of_);
        archive("weights", weights_);
        archive("total", total_);
        archive("right", right_);
        archive("seconds", seconds_);
        archive("samples", all_);
        archive("predictions", predictions_);
        archive("counted", counted_);
        archive("steps", steps_);
        archive("skipped", skipped_);
        if (archive.loading() && (sums_.size() != names_.size() || predictions_of_.size() != names_.size() ||
                                  weights_.size() != names_.size())) {
            throw CheckpointError(
                concat(archive.where(), ": expected the means of ", names_.size(), " terms"));
        }
    }

  private:
    struct Step {
        std::int64_t number;
        std::int64_t samples;
        std::int64_t predictions;
        bool has_ignored;
        bool has_right;
        bool has_flag = false;  // of the gradients
        std::vector<std::size_t> terms{};
    };
    /// Without a prediction that counts there is no value.
    static void set_mean(History& history, const std::string& column, double sum, std::int64_t count) {
        if (count > 0) {
            history.set(column, mean(sum, count));
        } else {
            history.declare(column);
        }
    }
    static double mean(double sum, std::int64_t count) {
        return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
    }
    void check(double value, const Step& step, const std::string& what) const {
        if (!std::isfinite(value)) {
            throw NonFiniteError(concat(what, " is ", value, " in epoch ", epoch_, ", step ", step.number,
                                        " (both counted from 0); the parameters may be corrupted"));
        }
    }

    std::vector<std::string> names_;
    std::int64_t epoch_;
    std::vector<at::Tensor> pending_;
    std::vector<Step> step_;
    std::pair<std::size_t, std::size_t> step_begin_{};  // the sizes of both when the step began
    std::vector<double> sums_;
    std::vector<std::int64_t> predictions_of_;  // by term
    std::vector<double> weights_;
    double total_ = 0;
    double right_ = 0;
    double seconds_ = 0;
    std::int64_t all_ = 0;  // samples
    std::int64_t predictions_ = 0;
    std::int64_t counted_ = 0;
    std::int64_t steps_ = 0;
    std::int64_t skipped_ = 0;
};

/// The statistics of an epoch, of all learners of a run.
class RunRecord {
  public:
    struct Learner {
        std::string suffix;  ///< of its columns `learning_rate`, `loss` and `accuracy`
        EpochRecord numbers;
    };
    explicit RunRecord(std::vector<Learner> learners) : learners_(std::move(learners)) {}

    /// The columns that every epoch has, whether or not they get a value.
    /// \throws ConfigError if a term has the name of another column
    std::vector<std::string> columns() const {
        std::vector<std::string> result{"epoch"};
        for (const auto& [suffix, numbers] : learners_) {
            result.push_back("learning_rate" + suffix);
            result.push_back("loss" + suffix);
            for (const std::string& name : numbers.names()) {
                result.push_back(name);
                result.push_back("weight_" + name);
            }
            result.push_back("accuracy" + suffix);
        }
        result.insert(result.end(), {"samples", "seconds", "samples_per_second"});
        for (auto name = result.begin(); name != result.end(); ++name) {
            if (std::find(result.begin(), name, *name) != name) {
                throw ConfigError(concat("history: expected columns of different names, found \"", *name,
                                         "\" twice; give the term another name"));
            }
        }
        return result;
    }
    EpochRecord& of(std::size_t learner) { return learners_[learner].numbers; }
    void skip(bool seen) {
        for (Learner& each : learners_) each.numbers.skip(seen);
    }
    void begin_step() {
        for (Learner& each : learners_) each.numbers.begin_step();
    }
    void drop_step() {
        for (Learner& each : learners_) each.numbers.drop_step();
    }
    void add_seconds(double seconds) {
        for (Learner& each : learners_) each.numbers.add_seconds(seconds);
    }
    /// Reads what was added since the last call. Means over the learners that learn. Waits for the device.
    /// \throws NonFiniteError see `EpochRecord::read`
    Running read() {
        Running result;
        double loss = 0;
        double accuracy = 0;
        double learning = 0;
        most_ = 0;
        for (std::size_t i = 0; i < learners_.size(); ++i) {
            const Running each = learners_[i].numbers.read();
            result.seconds = each.seconds;
            if (each.samples == 0) continue;
            if (each.samples > result.samples) most_ = i;
            result.samples = std::max(result.samples, each.samples);
            loss += each.loss;
            accuracy += each.accuracy;
            ++learning;
        }
        if (learning > 0) {
            result.loss = loss / learning;
            result.accuracy = accuracy / learning;
        }
        return result;
    }
    /// Writes the columns of the epoch.
    void write(History& history) const {
        for (const auto& [suffix, numbers] : learners_) numbers.write_means(history, suffix);
        learners_[most_].numbers.write_counts(history);
    }
    /// Stores or sets the statistics of the epoch. Waits for the device.
    /// \throws NonFiniteError see `EpochRecord::read`
    void checkpoint(Archive& archive) {
        for (auto& [suffix, numbers] : learners_)
            archive.in("learner" + suffix, [&, &own = numbers] { own.checkpoint(archive); });
        archive("most", most_);
        if (most_ >= learners_.size()) throw CheckpointError(concat(archive.where(), ": no learner ", most_));
    }

  private:
    std::vector<Learner> learners_;
    std::size_t most_ = 0;  // the learner that has seen the most samples
};

}  // namespace retort::detail
