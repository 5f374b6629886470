// SPDX-License-Identifier: BSL-1.0
/// \file
/// What all runs share: the skeleton of a step, the optimizers, and what goes into checkpoints.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/callback/history.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/file.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/checkpoint/run_state.hpp>
#include <retort/core/batch.hpp>
#include <retort/core/counted.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/core/progress.hpp>
#include <retort/optim/policy.hpp>
#include <retort/trainer/concept.hpp>
#include <retort/trainer/detail/non_finite.hpp>
#include <retort/trainer/epoch_record.hpp>
#include <retort/trainer/fit_loop.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/gradient_scaler.hpp>
#include <retort/trainer/losses.hpp>
#include <retort/trainer/precision.hpp>

namespace retort::detail {

/// A network of a run, and its optimizer.
struct RunLearner {
    std::string name;                          ///< in errors: `student`, `learner 1`
    std::string suffix;                        ///< of its columns in the history
    torch::nn::Module* module;                 ///< outlives the run
    std::optional<OptimizerPolicy> optimizer;  ///< empty: it is never trained
    bool learns = false;                       ///< in this step
    bool has_gradients = false;                ///< of this step or an earlier one
};

/// What `Trainer` and `CohortRun` share: the skeleton of a step (forward, backward, gradients, optimizers), `fit`, `save`
/// and `resume`. A class that derives from it is a `TrainingRun` if it has
///
/// | expression                | meaning |
/// |---------------------------|-----------------------------------------------------------------------|
/// | `run.losses_of(batch)`    | the result of a batch: a class with `losses`, and `each_learning(f)`, which calls `f(position, losses, outputs)` for every learner that learns |
/// | `run.size_parts(batch)`   | runs the networks on a batch, and no term, so that all learnable parts get their sizes |
/// | `run.term_names()`        | for every learner, the names of its terms in histories |
/// | `run.learnable_modules()` | the learnable parts of the terms |
/// | `run.sized()`             | whether all learnable parts have their sizes |
/// | `run.build_optimizers()`  | calls `build_optimizer` for every learner that may learn |
/// | `run.archive(a)`          | stores, compares or sets what exists from the start |
/// | `run.archive_parts(a)`    | stores, compares or sets the learnable parts and what else the first batch builds |
/// | `run.finish_update()`     | after the optimizers' steps |
///
/// \tparam Run the class that derives from it
template <class Run, Precision PrecisionPolicy>
class RunBase {
  public:
    /// The forward passes and losses of a batch at the current progress, with their graph. Changes nothing except that
    /// the first batch determines the sizes of learnable parts.
    template <class B>
    auto forward(const B& batch) {
        complete(batch);
        return self().losses_of(batch);
    }
    /// `forward(batch).losses`.
    template <class B>
    auto losses(const B& batch) {
        return forward(batch).losses;
    }
    /// All backward passes. The first batch of a step clears the gradients, sets the learning rates and, in the first
    /// step, builds the optimizers; further ones add to the gradients.
    /// \param share a factor for the losses
    /// \throws ConfigError if a loss does not require grad, or a learner cannot be trained
    template <class Result>
    void backward(const Result& result, double share = 1, bool first = true) {
        for (RunLearner& each : learners_) each.learns = false;
        result.each_learning([&](std::size_t i, const Losses&, const auto&) {
            if (!learners_[i].optimizer) {
                throw ConfigError(
                    concat(learners_[i].name,
                           ": expected an optimizer, since it has terms to learn from; found none"));
            }
            learners_[i].learns = true;
        });
        if (!built_) self().build();
        result.each_learning([&](std::size_t i, const Losses& losses, const auto&) {
            if (!losses.total.requires_grad()) {
                throw ConfigError(
                    concat(learners_[i].name,
                           ": the loss does not require grad: do the terms detach its outputs, or "
                           "is grad mode off?"));
            }
        });
        if (first) clear_gradients();
        if constexpr (scales_losses<PrecisionPolicy>) share *= scaler_->factor();
        result.each_learning([&](std::size_t i, const Losses& losses, const auto&) {
            (share == 1 ? losses.total : losses.total * share).backward();
            learners_[i].has_gradients = true;
        });
    }
    /// Multiplies the gradients of the step, and divides them by the loss scale if there is one.
    /// \returns whether to make the step: with scaled losses, whether all gradients are finite
    bool finish_gradients(double factor = 1) {
        if (factor == 1 && !scaler_) return true;
        std::vector<at::Tensor> all;
        for (const std::vector<at::Tensor>& each : learning_parameters())
            all.insert(all.end(), each.begin(), each.end());
        if (factor != 1) scale_gradients(all, factor);
        return !scaler_ || scaler_->unscale(all);
    }
    /// Whether all gradients of the step are finite. Waits for the device, if that is not the CPU.
    bool finite_gradients() const {
        for (const std::vector<at::Tensor>& each : learning_parameters()) {
            const at::Tensor found = non_finite(gradients_of(each));
            if (found.defined() && found.item<float>() != 0) return false;
        }
        return true;
    }
    /// The step of all optimizers. Counts it in `progress()`.
    void update() {
        for (RunLearner& each : learners_) {
            if (each.learns) each.optimizer->optimizer().step();
        }
        self().finish_update();
        skip();
    }
    /// Counts a step without making it.
    void skip() { ++state_.progress.step; }

    /// One step on a batch: `forward`, `backward`, and the step of all optimizers. Counts it in `progress()`.
    ///
    /// Issues exactly the operators of a hand-written step, and does not wait for the device (except once with
    /// `Float16`, where a step whose gradients overflow leaves all parameters unchanged).
    /// \returns what `forward` returned
    template <class B>
    auto step(const B& batch) {
        auto result = forward(batch);
        backward(result);
        if (finish_gradients()) {
            update();
        } else {
            skip();
        }
        return result;
    }

    /// Trains until a total of `options.epochs` epochs are done.
    ///
    /// The history has one row per epoch: see `Trainer` and `CohortRun` for its columns.
    /// \param source batches: see `BatchSource`; a callable is called for every epoch
    /// \param callbacks see `callback/concept.hpp`
    /// \returns the history of this and all earlier calls
    /// \throws ConfigError, DataError, ShapeError, OutputError, before the first step where possible; NonFiniteError;
    /// ConfigError if one of its own callbacks calls it
    template <class Source, class... Callbacks>
    const History& fit(Source&& source, const FitOptions& options, Callbacks&&... callbacks) & {
        FitLoop<Run, Source, Callbacks...>(self(), source, options, callbacks...).run();
        return history_;
    }
    template <class Source, class... Callbacks>
    History fit(Source&& source, const FitOptions& options, Callbacks&&... callbacks) && {
        fit(source, options, callbacks...);
        return std::move(history_);
    }

    /// Writes everything that the run depends on to a file, atomically: what `Checkpoint` writes. Call it between two
    /// steps, or in a callback's `on_settled`. Without a `fit` under way the file has no state of callbacks.
    /// \throws OutputError if it cannot be written
    void save(const std::filesystem::path& path) { write_state(path, state_.snapshot(self())); }
    /// Resumes from a file (or the newest checkpoint in a directory): `step` and `fit` continue from there, `fit` in the
    /// middle of an epoch if necessary. Whatever takes its size from a first batch (learnable parts, optimizer state)
    /// is restored with that batch.
    /// \throws CheckpointError if the file is damaged, or of another composition (see `Checkpoint`); nothing is changed.
    /// ConfigError if a `fit` is under way
    void resume(const std::filesystem::path& path) { state_.resume(self(), path); }

    /// The current position of the run. A custom loop that calls `step` sets `epoch`, `epochs` and `steps_per_epoch`
    /// here, if its schedules use them, and `step` to 0 at the start of an epoch.
    const Progress& progress() const { return state_.progress; }
    Progress& progress() { return state_.progress; }
    const History& history() const { return history_; }
    History& history() { return history_; }
    /// All networks that are trained, as one module.
    torch::nn::Module& module() const { return *module_; }
    at::Device device() const { return device_of(*module_); }
    /// The loss scaler; null if the precision needs none.
    const GradientScaler* scaler() const { return scaler_ ? &*scaler_ : nullptr; }
    /// The optimizer of a learner (in a trainer: of the student); null before the first step, and if it is not trained.
    torch::optim::Optimizer* optimizer(std::size_t learner = 0) const {
        const std::optional<OptimizerPolicy>& policy = learners_.at(learner).optimizer;
        return policy && policy->built() ? &policy->optimizer() : nullptr;
    }

    // What the loop and checkpoints also require: see `TrainingRun`.
    RunState<RunRecord>& state() { return state_; }
    const std::vector<at::Tensor>& parameters() const { return parameters_; }
    std::vector<std::vector<at::Tensor>> learning_parameters() const {
        std::vector<std::vector<at::Tensor>> result;
        for (const RunLearner& each : learners_) {
            if (each.learns) result.push_back(trained_by(*each.optimizer));
        }
        return result;
    }
    std::vector<at::Tensor> buffers() const {
        std::vector<at::Tensor> result = module_->buffers();
        for (const auto& part : self().learnable_modules()) {
            for (const at::Tensor& buffer : part->buffers()) result.push_back(buffer);
        }
        return result;
    }
    RunRecord record() const {
        std::vector<RunRecord::Learner> result;
        std::vector<std::vector<std::string>> names = self().term_names();
        for (std::size_t i = 0; i < learners_.size(); ++i)
            result.push_back({learners_[i].suffix, EpochRecord(std::move(names[i]), state_.progress)});
        return RunRecord(std::move(result));
    }
    void begin_fit() {
        for (const RunLearner& each : learners_) {
            if (!each.module->is_training()) each.module->train();
        }
    }
    template <class B>
    void complete(const B& batch) {
        if (state_.incomplete()) state_.complete(self(), [&] { self().size_parts(batch); });
    }
    template <class Result>
    static bool finite(const Result& result) {
        bool all = true;
        result.each_learning([&](std::size_t, const Losses& losses, const auto&) {
            all = all && std::isfinite(losses.total.item<double>());
        });
        return all;
    }
    /// \returns the predictions of the batch, as the first learner that learns has them
    template <class Result, class B>
    static Counted record_step(RunRecord& record, const Result& result, const B& batch, bool accuracy,
                               bool first) {
        std::optional<Counted> of_first;
        result.each_learning([&](std::size_t i, const Losses& losses, const auto& outputs) {
            const Counted own = counted(outputs, batch, accuracy);
            record.of(i).add(losses, own, sample_count(batch), first);
            if (!of_first) of_first = own;
        });
        return of_first.value_or(Counted{sample_count(batch)});
    }
    /// With scaled losses `finish_gradients` has looked at them already.
    void record_gradients(RunRecord& record) const {
        if (scaler_) return;
        for (std::size_t i = 0; i < learners_.size(); ++i) {
            if (learners_[i].learns)
                record.of(i).add_gradients(non_finite(gradients_of(trained_by(*learners_[i].optimizer))));
        }
    }
    void write(History& history) const {
        for (const RunLearner& each : learners_) {
            if (each.optimizer && each.optimizer->built())
                history.set("learning_rate" + each.suffix, each.optimizer->learning_rate());
        }
    }
    bool built() const { return built_; }
    void build() {
        self().build_optimizers();
        parameters_ = trained_parameters();
        built_ = true;
    }
    void archive_built(Archive& archive) {
        self().archive_parts(archive);
        for (RunLearner& each : learners_) {
            if (each.optimizer && each.optimizer->built())
                archive.in("optimizer" + each.suffix, [&] { each.optimizer->checkpoint(archive); });
        }
        if (scaler_) archive.in("scaler", [&] { scaler_->checkpoint(archive); });
        archive_gradients(archive, trained_parameters());
        if (archive.loading()) {
            for (RunLearner& each : learners_) each.has_gradients = true;
        }
    }

  protected:
    /// \param module all networks of the learners; must outlive the run, unless the pointer owns it
    RunBase(std::shared_ptr<torch::nn::Module> module, std::vector<RunLearner> learners,
            const PrecisionPolicy& precision)
        : module_(std::move(module)), learners_(std::move(learners)), scaler_(scaler_of(precision)) {}

    const std::vector<RunLearner>& run_learners() const { return learners_; }
    /// Builds the optimizer of a learner for its network and learnable parts.
    /// \throws ConfigError if nothing of the network can be trained, or another learner has the same optimizer
    void build_optimizer(std::size_t learner, const std::vector<NamedParameter>& parts) {
        RunLearner& own = learners_[learner];
        const auto parameters = trainable_named_parameters(*own.module);
        if (parameters.empty()) {
            throw ConfigError(
                concat(own.name,
                       ": expected parameters that require a gradient, found none: nothing can be "
                       "trained"));
        }
        own.optimizer->build(parameters, parts);
        for (const RunLearner& other : learners_) {
            if (&other == &own || !other.optimizer || !other.optimizer->built()) continue;
            if (&other.optimizer->optimizer() == &own.optimizer->optimizer()) {
                throw ConfigError(concat(own.name, ": expected a separate optimizer, found that of ",
                                         other.name, ": a step would use it twice"));
            }
        }
    }

  private:
    Run& self() { return static_cast<Run&>(*this); }
    const Run& self() const { return static_cast<const Run&>(*this); }

    static std::vector<at::Tensor> trained_by(const OptimizerPolicy& policy) {
        std::vector<at::Tensor> result;
        for (const torch::optim::OptimizerParamGroup& group : policy.optimizer().param_groups()) {
            for (const at::Tensor& each : group.params()) {
                if (each.requires_grad()) result.push_back(each);  // a recipe may have frozen some
            }
        }
        return result;
    }
    std::vector<at::Tensor> trained_parameters() const {
        std::vector<at::Tensor> result;
        for (const RunLearner& each : learners_) {
            if (!each.optimizer || !each.optimizer->built()) continue;
            const std::vector<at::Tensor> own = trained_by(*each.optimizer);
            result.insert(result.end(), own.begin(), own.end());
        }
        return result;
    }
    /// For the learners of this step. A learner that learned before but does not now must not show callbacks the
    /// gradients of an earlier step.
    void clear_gradients() {
        for (RunLearner& each : learners_) {
            if (each.learns) {
                each.optimizer->set_learning_rate(state_.progress);
                each.optimizer->optimizer().zero_grad();
            } else if (each.has_gradients) {
                if (each.optimizer && each.optimizer->built()) each.optimizer->optimizer().zero_grad();
                each.has_gradients = false;
            }
        }
    }

    std::shared_ptr<torch::nn::Module> module_;
    std::vector<RunLearner> learners_;
    std::optional<GradientScaler> scaler_;
    std::vector<at::Tensor> parameters_;
    History history_;
    RunState<RunRecord> state_;
    bool built_ = false;
};

}  // namespace retort::detail
