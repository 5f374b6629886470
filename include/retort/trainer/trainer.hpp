// SPDX-License-Identifier: BSL-1.0
/// \file
/// The trainer: student, teacher, knowledge and schedule composed.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/core/device.hpp>
#include <retort/core/network.hpp>
#include <retort/optim/policy.hpp>
#include <retort/trainer/callback.hpp>
#include <retort/trainer/epoch_record.hpp>
#include <retort/trainer/evaluate.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/objective.hpp>
#include <retort/trainer/source.hpp>

namespace retort {

/// What one step computed. Holds no more of the graph than the tensors themselves do.
template <class Outputs>
struct StepResult {
    Losses losses;
    Outputs outputs;  ///< of the student
};

/// Trains a student with what a teacher knows. Owns the composition, not the loop: every layer can be used
/// alone.
///
///     retort::Trainer trainer{student, retort::Frozen{teacher},
///                             retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 4.0}},
///                             retort::Schedule{0.1, 0.9},
///                             retort::Sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 5e-4}};
///     trainer.fit(train_batches, {.epochs = 240}, retort::ProgressBar{});
///
/// The optimiser is built in the first step, when all learnable parts have their sizes. The trainer changes
/// neither the number of threads nor the random numbers of the program.
template <class Student, class TeacherPolicy, class KnowledgePolicy, class SchedulePolicy>
class Trainer {
    static_assert(Network<Student>,
                  "retort: the student is not a network: expected a module holder, a shared_ptr to a module, "
                  "or a module");
    static_assert(!Network<TeacherPolicy>,
                  "retort: the teacher is a bare network; say how it teaches: retort::Frozen{network}, or "
                  "retort::NoTeacher{}");

  public:
    ///
    /// \param student a module holder, a `shared_ptr` to a module, or a module object that outlives the
    /// trainer
    /// \param optimizer see `OptimizerPolicy`
    /// \throws ConfigError if the device does not exist, or
    /// the teacher is elsewhere, or shares parameters with the student
    template <class S, class O>
        requires std::same_as<std::remove_cvref_t<S>, Student>
    explicit Trainer(S&& student, TeacherPolicy teacher, KnowledgePolicy knowledge, SchedulePolicy schedule,
                     O&& optimizer, const TrainerOptions& options = {})
        : student_(student),
          teacher_(std::move(teacher)),
          objective_(std::move(knowledge), std::move(schedule)),
          optimizer_(as_policy(std::forward<O>(optimizer))) {
        static_assert(
            !detail::ModuleObject<Student> || std::is_lvalue_reference_v<S>,
            "retort: a module object must outlive its trainer: pass a variable, a holder or a shared_ptr");
        check_teacher();
        if (!options.device.empty()) {
            const at::Device device = retort::device(options.device);
            student_.module().to(device);
            for (torch::nn::Module* each : detail::teacher_modules(teacher_)) each->to(device);
            objective_.knowledge().module()->to(device);
        }
        check_devices();
    }

    /// The losses of a batch at the present progress, with their graph. Changes nothing but, with the first
    /// batch, the sizes of learnable parts that have none yet.
    template <class B>
    Losses loss(const B& batch) {
        return forward(batch).losses;
    }

    /// One optimiser step on a batch. Counts the step in `progress()`.
    ///
    /// Issues the operators of the hand-written step and no other, and does not wait for the device.
    template <class B>
    auto step(const B& batch) {
        auto result = forward(batch);
        backward(result.losses.total);
        optimizer_.optimizer().step();
        finish_step();
        return result;
    }

    /// Trains until `options.epochs` epochs are done in all.
    ///
    /// The history has a row an epoch: `epoch` (from 0), `learning_rate`, `loss`, each term by its name and
    /// `weight_` its name (means over the samples, before the weight; of the steps that computed it),
    /// `accuracy` (on the training batches, in training mode), `samples`, `seconds`, `samples_per_second`;
    /// then what the callbacks add.
    ///
    ///
    /// \param source batches: see `BatchSource`; a callable is asked for every epoch's batches
    ///
    /// \param callbacks see `trainer/callback.hpp`
    ///
    /// \returns the history of this and all earlier calls
    ///
    /// \throws ConfigError, DataError, ShapeError, OutputError before the first step where they can be;
    /// NonFiniteError
    template <class Source, class... Callbacks>
    const History& fit(Source&& source, const FitOptions& options, Callbacks&&... callbacks) {
        static_assert(
            BatchSource<std::remove_reference_t<Source>>,
            "retort: batches come from an input range of batches, or from a callable that takes the epoch "
            "(std::int64_t) and gives one");
        static_assert((Callback<Callbacks> && ...),
                      "retort: a callback has no hook: see retort/trainer/callback.hpp for the names");
        check_options(options);
        Progress& progress = progress_;
        progress.epochs = options.epochs;
        progress.step = 0;
        for (const std::string& column :
             detail::EpochRecord::columns({objective_.names().begin(), objective_.names().end()})) {
            history_.declare(column);
        }
        Context context{{progress, history_, student_.module(), parameters_}, *this};
        bool go_on =
            each([&](auto& callback) { return detail::call_on_fit_begin(callback, context); }, callbacks...);
        if (!student_.module().is_training()) student_.module().train();
        while (go_on && progress.epoch < options.epochs) {
            auto&& batches = detail::batches_of_epoch(source, progress.epoch);
            if (const std::int64_t count = detail::batch_count(batches); count > 0)
                progress.steps_per_epoch = count;
            history_.begin_row();
            try {
                go_on = epoch(batches, options, context, callbacks...);
            } catch (...) {
                history_.drop_row();  // a row is an epoch that was completed, or that a callback ended
                progress.step = 0;
                throw;
            }
        }
        sync(context);
        each([&](auto& callback) { return detail::call_on_fit_end(callback, context); }, callbacks...);
        return history_;
    }

    /// Measures the student: see `retort::evaluate`. Metrics that compare with a teacher get this trainer's.
    template <class Source, class... Metrics>
    auto evaluate(Source&& source, Metrics... metrics) {
        return detail::measured(student_, teacher_, source, std::move(metrics)...);
    }

    /// Where the run stands. A loop of one's own that calls `step` sets `epoch`, `epochs` and
    /// `steps_per_epoch` here, where its schedules look at them, and `step` to 0 at the start of an epoch.
    const Progress& progress() const { return progress_; }
    Progress& progress() { return progress_; }
    const History& history() const { return history_; }
    /// The student's module.
    torch::nn::Module& student() const { return student_.module(); }
    TeacherPolicy& teacher() { return teacher_; }
    const auto& objective() const { return objective_; }
    /// The learnable parts of the knowledge.
    std::shared_ptr<torch::nn::Module> learnable_parts() const { return objective_.knowledge().module(); }
    /// The optimiser; null before the first step.
    torch::optim::Optimizer* optimizer() const {
        return optimizer_.built() ? &optimizer_.optimizer() : nullptr;
    }

  private:
    using Context = FitContextOf<Trainer>;

    template <class O>
    static OptimizerPolicy as_policy(O&& optimizer) {
        static_assert(
            std::convertible_to<O, OptimizerPolicy>,
            "retort: this is no optimiser: expected a recipe (retort::Sgd, retort::FromTorch<...>), a "
            "torch::optim::Optimizer in a variable that outlives the trainer, or a shared_ptr to one");
        return std::forward<O>(optimizer);
    }

    /// Calls every callback, in order; tells whether all say that the run goes on.
    template <class Call, class... Callbacks>
    static bool each(Call&& call, Callbacks&... callbacks) {
        bool go_on = true;
        ((go_on = call(callbacks) && go_on), ...);
        return go_on;
    }

    template <class B>
    auto forward(const B& batch) {
        static_assert(Batch<B>,
                      "retort: this is no batch: expected a tensor, a pair or tuple of tensors, a member "
                      "`input` or `data`, or a "
                      "function input(batch) beside the type");
        const auto& value = input(batch);
        using I = std::remove_cvref_t<decltype(value)>;
        static_assert(Forwards<Student, I>,
                      "retort: the forward of the student does not take the input of the batch");
        static_assert(Teacher<TeacherPolicy, I>,
                      "retort: the teacher cannot be called with the input of the batch");
        if (!value.defined() || value.dim() == 0 || value.size(0) == 0) {
            throw DataError(detail::text("batch: expected at least one sample, found ",
                                         detail::shape_text(value), " in epoch ", progress_.epoch, ", step ",
                                         progress_.step));
        }
        const auto weights = objective_.weights(progress_);
        using TeacherOutputs = TeacherOutputsOf<TeacherPolicy, I>;
        std::optional<TeacherOutputs> teacher;
        if (objective_.needs_teacher(weights) || !objective_.knowledge().prepared()) {
            const at::NoGradGuard no_grad;
            teacher.emplace(teacher_(value));
        }
        auto outputs = student_->forward(value);
        if (!prepared_) prepare(outputs, teacher, batch);
        Losses losses = objective_.losses(outputs, teacher ? &*teacher : nullptr, batch, progress_, weights);
        return StepResult<decltype(outputs)>{std::move(losses), std::move(outputs)};
    }

    template <class Outputs, class TeacherOutputs, class B>
    void prepare(const Outputs& outputs, const std::optional<TeacherOutputs>& teacher, const B& batch) {
        objective_.knowledge().prepare(outputs, teacher ? &*teacher : nullptr, batch);
        prepared_ = true;
    }

    void backward(const at::Tensor& total) {
        if (!optimizer_.built()) build_optimizer();
        if (!total.requires_grad()) {
            throw ConfigError(
                "loss: expected one that depends on what is trained, found a constant: do the terms detach "
                "the "
                "student's outputs, or is gradient mode off?");
        }
        optimizer_.set_learning_rate(progress_);
        optimizer_.optimizer().zero_grad();
        total.backward();
    }

    void build_optimizer() {
        const auto student = detail::trainable_parameters(student_.module());
        if (student.empty()) {
            throw ConfigError(
                "student: expected parameters that require a gradient, found none: nothing can be trained");
        }
        const auto parts = detail::trainable_parameters(*objective_.knowledge().module());
        optimizer_.build(student, parts);
        parameters_ = student;
        parameters_.insert(parameters_.end(), parts.begin(), parts.end());
    }

    void finish_step() {
        if constexpr (requires { teacher_.update(progress_); }) teacher_.update(progress_);
        ++progress_.step;
    }

    template <class Batches, class... Callbacks>
    bool epoch(Batches& batches, const FitOptions& options, Context& context, Callbacks&... callbacks) {
        history_.set("epoch", static_cast<double>(progress_.epoch));
        sync(context);
        context.running = {};
        bool go_on = each([&](auto& callback) { return detail::call_on_epoch_begin(callback, context); },
                          callbacks...);
        const at::Device device = detail::device_of(student_.module());
        detail::EpochRecord record({objective_.names().begin(), objective_.names().end()}, progress_);
        bool complete = false;  // whether the range has ended; a stopped run asks it for no further batch
        auto it = std::ranges::begin(batches);
        while (go_on) {
            complete = it == std::ranges::end(batches);
            if (complete) break;
            using B = std::remove_cvref_t<decltype(*it)>;
            const auto began = std::chrono::steady_clock::now();
            const B batch = to_device(B(*it), device);
            const auto buffers = options.non_finite == NonFinite::skip ? copy_buffers() : Copies{};
            auto result = forward(batch);
            const bool skipped = options.non_finite == NonFinite::skip &&
                                 !std::isfinite(result.losses.total.template item<double>());
            if (skipped) {
                const at::NoGradGuard no_grad;
                for (const auto& [buffer, copy] : buffers) buffer.copy_(copy);
                record.skip();
                ++progress_.step;
            } else {
                record_step(record, result, batch, options);
                backward(result.losses.total);
                sync(context);
                go_on = each([&](auto& callback) { return detail::call_on_gradients(callback, context); },
                             callbacks...);
                optimizer_.optimizer().step();
                finish_step();
            }
            record.add_seconds(
                std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
            sync(context);
            go_on = each([&](auto& callback) { return detail::call_on_step_end(callback, context); },
                         callbacks...) &&
                    go_on;
            if (progress_.step % options.report_every == 0) {
                context.running = record.read();
                go_on = each([&](auto& callback) { return detail::call_on_report(callback, context); },
                             callbacks...) &&
                        go_on;
            }
            if (go_on) ++it;
        }
        if (complete && progress_.step == 0) {
            throw DataError(
                detail::text("fit: expected at least one batch in epoch ", progress_.epoch, ", found none"));
        }
        if (complete) progress_.steps_per_epoch = progress_.step;
        context.running = record.read();
        if (optimizer_.built()) history_.set("learning_rate", optimizer_.learning_rate());
        record.write(history_);
        sync(context);
        go_on = each([&](auto& callback) { return detail::call_on_epoch_end(callback, context); },
                     callbacks...) &&
                go_on;
        ++progress_.epoch;
        progress_.step = 0;
        return go_on;
    }

    /// The buffers of student and learnable parts, each with a copy of itself: a forward changes them (batch
    /// norm's statistics), and they must not remember a step that is left out.
    using Copies = std::vector<std::pair<at::Tensor, at::Tensor>>;
    Copies copy_buffers() const {
        Copies result;
        const auto add = [&](const torch::nn::Module& module) {
            for (const at::Tensor& buffer : module.buffers()) {
                if (buffer.defined()) result.emplace_back(buffer, buffer.detach().clone());
            }
        };
        add(student_.module());
        add(*objective_.knowledge().module());
        return result;
    }

    template <class Outputs, class B>
    void record_step(detail::EpochRecord& record, const StepResult<Outputs>& result, const B& batch,
                     const FitOptions& options) const {
        at::Tensor right;
        if constexpr (LabelledBatch<B> && HasLogits<Outputs>) {
            const auto& truth = target(batch);
            const auto& scores = logits(result.outputs);
            if (options.train_accuracy && truth.defined() && truth.dim() == 1 && scores.dim() == 2 &&
                truth.scalar_type() == at::kLong) {
                const at::NoGradGuard no_grad;
                right = scores.argmax(1).eq(truth).sum();
            }
        }
        record.add(result.losses, right, input(batch).size(0));
    }

    void sync(Context& context) const { context.progress = progress_; }

    void check_options(const FitOptions& options) const {
        if (options.epochs < 1) {
            throw ConfigError(detail::text("fit: expected at least 1 epoch, found ", options.epochs));
        }
        if (options.report_every < 1) {
            throw ConfigError(
                detail::text("fit: expected a report every 1 or more steps, found ", options.report_every));
        }
        if (options.epochs <= progress_.epoch) {
            throw ConfigError(
                detail::text("fit: ", options.epochs, " epochs were asked for, and ", progress_.epoch,
                             " are done already; FitOptions::epochs counts all epochs of the training"));
        }
    }

    void check_teacher() const {
        std::unordered_set<const void*> own;
        for (const at::Tensor& parameter : student_.module().parameters())
            own.insert(parameter.unsafeGetTensorImpl());
        for (const torch::nn::Module* each : detail::teacher_modules(teacher_)) {
            for (const auto& parameter : each->named_parameters()) {
                if (own.contains(parameter.value().unsafeGetTensorImpl())) {
                    throw ConfigError(
                        detail::text("teacher: expected parameters of its own, found \"", parameter.key(),
                                     "\" to be the student's too (a copied module shares its parameters; "
                                     "clone() makes new ones)"));
                }
            }
        }
    }

    void check_devices() const {
        const at::Device device = detail::device_of(student_.module());
        for (const torch::nn::Module* each : detail::teacher_modules(teacher_)) {
            if (!each->parameters().empty() && detail::device_of(*each) != device) {
                throw ConfigError(detail::text("teacher: expected it where the student is, on ", device,
                                               ", found it on ", detail::device_of(*each)));
            }
        }
    }

    NetworkRef<Student> student_;
    TeacherPolicy teacher_;
    Objective<KnowledgePolicy, SchedulePolicy> objective_;
    OptimizerPolicy optimizer_;
    std::vector<at::Tensor> parameters_;
    Progress progress_;
    History history_;
    bool prepared_ = false;
};

template <class S, class T, class K, class W, class O>
Trainer(const S&, T, K, W, const O&) -> Trainer<S, T, K, W>;
template <class S, class T, class K, class W, class O>
Trainer(const S&, T, K, W, const O&, TrainerOptions) -> Trainer<S, T, K, W>;

}  // namespace retort
