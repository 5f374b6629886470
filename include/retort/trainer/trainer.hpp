// SPDX-License-Identifier: BSL-1.0
/// \file
/// The trainer: student, teacher, knowledge and schedule composed.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/checkpoint/run_state.hpp>
#include <retort/core/batch_source.hpp>
#include <retort/core/device.hpp>
#include <retort/core/network.hpp>
#include <retort/core/right_answers.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/metrics/evaluate.hpp>
#include <retort/optim/policy.hpp>
#include <retort/teacher/detail/teacher_state.hpp>
#include <retort/trainer/epoch_record.hpp>
#include <retort/trainer/fit_loop.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/gradient_scaler.hpp>
#include <retort/trainer/objective.hpp>
#include <retort/trainer/precision.hpp>

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
/// The optimizer is built in the first step, when all learnable parts have their sizes, for the parameters
/// that require a gradient then: what is unfrozen later is not trained. The trainer changes neither the number
/// of threads nor the random numbers of the program.
template <class Student, class TeacherPolicy, class KnowledgePolicy, class SchedulePolicy,
          Precision PrecisionPolicy = Float32>
class Trainer {
    static_assert(Network<Student>,
                  "retort: the student is not a network: expected a module holder, a shared_ptr to a module, "
                  "or a module");
    static_assert(!Network<TeacherPolicy>,
                  "retort: the teacher is a bare network; say how it teaches: retort::Frozen{network}, or "
                  "retort::NoTeacher{}");
    static_assert(
        !detail::trains_teacher<KnowledgePolicy> || LearnsByGradient<TeacherPolicy>,
        "retort: a term of the Knowledge trains the teacher (ForTeacher), and this teacher does not learn: "
        "expected retort::PartiallyTrainable{network, {.parameters = ...}}");
    static_assert(
        !LearnsByGradient<TeacherPolicy> || detail::trains_teacher<KnowledgePolicy>,
        "retort: nothing would train this teacher: one that is PartiallyTrainable learns from terms of the "
        "Knowledge that say so, retort::ForTeacher{term}; for one that does not learn, take retort::Frozen");

  public:
    /// \param student a module holder, a `shared_ptr` to a module, or a module object that outlives the trainer
    /// \param optimizer see `OptimizerPolicy`
    /// \throws ConfigError if the device does not exist, or the teacher is elsewhere, or shares parameters with the
    /// student
    template <class S, class O>
        requires std::same_as<std::remove_cvref_t<S>, Student>
    explicit Trainer(S&& student, TeacherPolicy teacher, KnowledgePolicy knowledge, SchedulePolicy schedule,
                     O&& optimizer, const TrainerOptions& options = {})
        : Trainer(std::forward<S>(student), std::move(teacher), std::move(knowledge), std::move(schedule),
                  std::forward<O>(optimizer), PrecisionPolicy{}, options) {}
    /// \param precision `Float32`, `Bfloat16` or `Float16`: see trainer/precision.hpp
    /// \throws ConfigError as above, or if the device cannot compute so
    template <class S, class O>
        requires std::same_as<std::remove_cvref_t<S>, Student>
    explicit Trainer(S&& student, TeacherPolicy teacher, KnowledgePolicy knowledge, SchedulePolicy schedule,
                     O&& optimizer, PrecisionPolicy precision, const TrainerOptions& options = {})
        : student_(student),
          teacher_(std::move(teacher)),
          objective_(std::move(knowledge), std::move(schedule)),
          optimizer_(as_policy(std::forward<O>(optimizer))),
          scaler_(detail::scaler_of(precision)) {
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
        detail::check_precision<PrecisionPolicy>(device(), "the student");
    }
    /// The same with the weights in the knowledge: `Knowledge{0.1 * CrossEntropy{}, 0.9 * SoftTarget{}}`.
    template <class S, WeightedKnowledge K, class O>
        requires std::same_as<std::remove_cvref_t<S>, Student>
    explicit Trainer(S&& student, TeacherPolicy teacher, const K& knowledge, O&& optimizer,
                     const TrainerOptions& options = {})
        : Trainer(std::forward<S>(student), std::move(teacher), knowledge.terms(), knowledge.schedule(),
                  std::forward<O>(optimizer), options) {}
    template <class S, WeightedKnowledge K, class O>
        requires std::same_as<std::remove_cvref_t<S>, Student>
    explicit Trainer(S&& student, TeacherPolicy teacher, const K& knowledge, O&& optimizer,
                     PrecisionPolicy precision, const TrainerOptions& options = {})
        : Trainer(std::forward<S>(student), std::move(teacher), knowledge.terms(), knowledge.schedule(),
                  std::forward<O>(optimizer), precision, options) {}

    /// The losses of a batch at the present progress, with their graph. Changes nothing but, with the first
    /// batch, the sizes of learnable parts that have none yet.
    template <class B>
    Losses loss(const B& batch) {
        return forward(batch).losses;
    }

    /// One optimizer step on a batch. Counts the step in `progress()`.
    ///
    /// Issues the operators of the hand-written step and no other, and does not wait for the device (but with
    /// `Float16`, where a step whose gradients overflow leaves the parameters as they are).
    template <class B>
    auto step(const B& batch) {
        auto result = forward(batch);
        backward(result);
        if (finish_gradients(1)) {
            update();
        } else {
            skip();
        }
        return result;
    }

    /// Trains until `options.epochs` epochs are done in all.
    ///
    /// The history has a row an epoch: `epoch` (from 0), `learning_rate`, `loss`, each term by its name and
    /// `weight_` its name (means over the samples, before the weight; of the steps that computed it),
    /// `accuracy` (on the training batches, in training mode), `samples`, `seconds`, `samples_per_second`;
    /// then what the callbacks add.
    /// \param source batches: see `BatchSource`; a callable is asked for every epoch's batches
    /// \param callbacks see `callback/concept.hpp`
    /// \returns the history of this and all earlier calls
    /// \throws ConfigError, DataError, ShapeError, OutputError before the first step where they can be;
    /// NonFiniteError
    template <class Source, class... Callbacks>
    const History& fit(Source&& source, const FitOptions& options, Callbacks&&... callbacks) {
        detail::FitLoop<Trainer>(*this).run(source, options, callbacks...);
        return history_;
    }

    /// Writes all that the training depends on to a file, whole or not at all: what `Checkpoint` writes. Between two
    /// steps, or in a callback's `on_settled`. Without a `fit` under way it holds no state of callbacks.
    /// \throws OutputError if it cannot be written
    void save(const std::filesystem::path& path) { detail::write_state(path, run_.snapshot(*this)); }
    /// Goes back, or on, to what a file holds (or the newest checkpoint in a directory): `step` and `fit` go on from
    /// there, `fit` in the middle of an epoch if need be. What takes its size from a first batch (learnable parts, the
    /// optimizer's memory) is set with that batch.
    /// \throws CheckpointError if the file is damaged, or of another composition (see `Checkpoint`); nothing is changed
    void resume(const std::filesystem::path& path) { run_.resume(*this, path); }
    /// Where the student is.
    at::Device device() const { return detail::device_of(student_.module()); }

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
    /// The scaler of the losses; null where the precision needs none.
    const GradientScaler* scaler() const { return scaler_ ? &*scaler_ : nullptr; }
    /// The optimizer; null before the first step.
    torch::optim::Optimizer* optimizer() const {
        return optimizer_.built() ? &optimizer_.optimizer() : nullptr;
    }

  private:
    using Weights = typename Objective<KnowledgePolicy, SchedulePolicy>::Weights;

    template <class O>
    static OptimizerPolicy as_policy(O&& optimizer) {
        static_assert(
            std::convertible_to<O, OptimizerPolicy>,
            "retort: this is no optimizer: expected a recipe (retort::Sgd, retort::FromTorch<...>), a "
            "torch::optim::Optimizer in a variable that outlives the trainer, or a shared_ptr to one");
        return std::forward<O>(optimizer);
    }

    template <class B>
    auto forward(const B& batch) {
        complete(batch);
        return losses_of(batch, objective_.weights(progress_));
    }
    template <class B>
    void complete(const B& batch) {
        // Weights of 0, as neither terms nor schedules have their state yet: the networks run, and no term.
        if (run_.incomplete()) run_.complete(*this, [&] { losses_of(batch, {}); });
    }
    template <class B>
    auto losses_of(const B& batch, const Weights& weights) {
        const auto& value = detail::input_of(batch, progress_);
        using I = std::remove_cvref_t<decltype(value)>;
        static_assert(Forwards<Student, I>,
                      "retort: the forward of the student does not take the input of the batch");
        static_assert(Teacher<TeacherPolicy, I>,
                      "retort: the teacher cannot be called with the input of the batch");
        using TeacherOutputs = TeacherOutputsOf<TeacherPolicy, I>;
        std::optional<TeacherOutputs> teacher;
        const at::DeviceType device = value.device().type();
        if (objective_.needs_teacher(weights) || !objective_.knowledge().prepared()) {
            teacher.emplace(taught(value, objective_.trains_teacher(weights)));
        }
        auto outputs =
            detail::in_precision<PrecisionPolicy>(device, [&] { return student_->forward(value); });
        if (!prepared_) prepare(outputs, teacher, batch);
        Losses losses = objective_.losses(outputs, teacher ? &*teacher : nullptr, batch, progress_, weights);
        return StepResult<decltype(outputs)>{std::move(losses), std::move(outputs)};
    }

    /// What the teacher gives: constants, but for where a term trains it.
    template <class I>
    TeacherOutputsOf<TeacherPolicy, I> taught(const I& value, [[maybe_unused]] bool trained) {
        using Outputs = TeacherOutputsOf<TeacherPolicy, I>;
        const at::DeviceType device = value.device().type();
        if constexpr (LearnsByGradient<TeacherPolicy>) {
            if (trained)
                return detail::in_precision<PrecisionPolicy>(
                    device, [&]() -> Outputs { return teacher_.with_gradient(value); });
        }
        const at::NoGradGuard no_grad;
        return detail::in_precision<PrecisionPolicy>(device, [&]() -> Outputs { return teacher_(value); });
    }

    template <class Outputs, class TeacherOutputs, class B>
    void prepare(const Outputs& outputs, const std::optional<TeacherOutputs>& teacher, const B& batch) {
        objective_.knowledge().prepare(outputs, teacher ? &*teacher : nullptr, batch);
        prepared_ = true;
    }

    void backward(const at::Tensor& total, double share, bool first) {
        if (!optimizer_.built()) build_optimizer();
        if (!total.requires_grad()) {
            throw ConfigError(
                "loss: expected one that depends on what is trained, found a constant: do the terms detach "
                "the "
                "student's outputs, or is gradient mode off?");
        }
        if (first) {
            optimizer_.set_learning_rate(progress_);
            optimizer_.optimizer().zero_grad();
        }
        if constexpr (detail::scales_losses<PrecisionPolicy>) share *= scaler_->factor();
        (share == 1 ? total : total * share).backward();
    }

    void build_optimizer() {
        auto student = detail::trainable_named_parameters(student_.module());
        if (student.empty()) {
            throw ConfigError(
                "student: expected parameters that require a gradient, found none: nothing can be trained");
        }
        auto parts = detail::trainable_named_parameters(*objective_.knowledge().module(), "knowledge.");
        if constexpr (LearnsByGradient<TeacherPolicy>) {
            for (NamedParameter& each : teacher_.trainable_parameters())
                parts.push_back({std::string("teacher.").append(each.name), std::move(each.tensor)});
        }
        optimizer_.build(student, parts);
        parameters_.clear();
        for (auto* some : {&student, &parts}) {
            for (const NamedParameter& each : *some) {  // the optimizer may have frozen some
                if (each.tensor.requires_grad()) parameters_.push_back(each.tensor);
            }
        }
    }

    void finish_step() {
        if constexpr (requires { teacher_.update(progress_); }) teacher_.update(progress_);
        ++progress_.step;
    }

    // What checkpoints ask for: see `detail::RunState`.
    using RunState = detail::RunState<detail::EpochRecord>;
    friend RunState;
    bool built() const { return optimizer_.built(); }
    bool sized() const { return objective_.knowledge().prepared(); }
    void build() { build_optimizer(); }
    void archive(Archive& archive) {
        archive.in("student", [&] {
            archive.expect("type", std::string(detail::type_name<Student>()));
            detail::archive_module(archive, student_.module());
        });
        archive.in("precision",
                   [&] { archive.expect("type", std::string(detail::type_name<PrecisionPolicy>())); });
        archive.in("teacher", [&] { detail::archive_teacher(archive, teacher_, run_.teacher_hash()); });
        archive.in("objective", [&] { archive.expect("terms", objective_.description()); });
    }
    void archive_built(Archive& archive) {
        archive.in("knowledge", [&] { objective_.knowledge().checkpoint(archive); });
        archive.in("schedule", [&] { objective_.schedule().checkpoint(archive); });
        archive.in("optimizer", [&] { optimizer_.checkpoint(archive); });
        if (scaler_) archive.in("scaler", [&] { scaler_->checkpoint(archive); });
        detail::archive_gradients(archive, parameters_);
    }

    // What the loop of `fit` asks for: see `detail::FitLoop`.
    friend class detail::FitLoop<Trainer>;
    FitContextOf<Trainer> context() { return {{progress_, history_, student_.module(), parameters_}, *this}; }
    std::vector<std::string> term_names() const {
        return {objective_.names().begin(), objective_.names().end()};
    }
    std::vector<std::string> columns() const { return detail::EpochRecord::columns(term_names()); }
    detail::EpochRecord record() const { return detail::EpochRecord(term_names(), progress_); }
    void begin_fit() {
        if (!student_.module().is_training()) student_.module().train();
    }
    std::vector<at::Tensor> buffers() const {
        std::vector<at::Tensor> result = student_.module().buffers();
        for (const at::Tensor& buffer : objective_.knowledge().module()->buffers()) result.push_back(buffer);
        return result;
    }
    template <class Outputs>
    static bool finite(const StepResult<Outputs>& result) {
        return std::isfinite(result.losses.total.template item<double>());
    }
    template <class Outputs, class B>
    static void record_step(detail::EpochRecord& record, const StepResult<Outputs>& result, const B& batch,
                            const FitOptions& options, bool first) {
        at::Tensor right;
        if (options.train_accuracy) right = detail::right_answers(result.outputs, batch);
        record.add(result.losses, right, detail::sample_count(batch), first);
    }
    template <class Outputs>
    void backward(const StepResult<Outputs>& result, double share = 1, bool first = true) {
        backward(result.losses.total, share, first);
    }
    bool finish_gradients(double factor) {
        if (factor != 1) detail::scale_gradients(parameters_, factor);
        return !scaler_ || scaler_->unscale(parameters_);
    }
    void skip() { ++progress_.step; }
    void update() {
        optimizer_.optimizer().step();
        finish_step();
    }
    void write(History& history) const {
        if (optimizer_.built()) history.set("learning_rate", optimizer_.learning_rate());
    }

    void check_teacher() const {
        std::unordered_set<const void*> own;
        for (const at::Tensor& parameter : student_.module().parameters())
            own.insert(parameter.unsafeGetTensorImpl());
        for (const torch::nn::Module* each : detail::teacher_modules(teacher_)) {
            for (const auto& parameter : each->named_parameters()) {
                if (own.contains(parameter.value().unsafeGetTensorImpl())) {
                    throw ConfigError(
                        detail::concat("teacher: expected parameters of its own, found \"", parameter.key(),
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
                throw ConfigError(detail::concat("teacher: expected it where the student is, on ", device,
                                                 ", found it on ", detail::device_of(*each)));
            }
        }
    }

    NetworkRef<Student> student_;
    TeacherPolicy teacher_;
    Objective<KnowledgePolicy, SchedulePolicy> objective_;
    OptimizerPolicy optimizer_;
    std::optional<GradientScaler> scaler_;
    std::vector<at::Tensor> parameters_;
    Progress progress_;
    History history_;
    RunState run_;
    bool prepared_ = false;
};

namespace detail {

// Tells the Schedule from the optimizer, where the weights are in the Knowledge.
template <class T>
concept OptimizerArgument = std::convertible_to<T&, OptimizerPolicy>;
template <class T>
concept ScheduleArgument = !OptimizerArgument<T>;
template <class K>
using TermsOf = typename KnowledgeParts<K>::Terms;
template <class K>
using WeightsOf = typename KnowledgeParts<K>::Weights;

}  // namespace detail

template <class S, class T, class K, detail::ScheduleArgument W, class O>
Trainer(const S&, T, K, W, const O&) -> Trainer<S, T, K, W>;
template <class S, class T, class K, detail::ScheduleArgument W, class O>
Trainer(const S&, T, K, W, const O&, TrainerOptions) -> Trainer<S, T, K, W>;
template <class S, class T, class K, detail::ScheduleArgument W, class O, Precision P>
Trainer(const S&, T, K, W, const O&, P) -> Trainer<S, T, K, W, P>;
template <class S, class T, class K, detail::ScheduleArgument W, class O, Precision P>
Trainer(const S&, T, K, W, const O&, P, TrainerOptions) -> Trainer<S, T, K, W, P>;

template <class S, class T, class K, detail::OptimizerArgument O>
Trainer(const S&, T, K, const O&) -> Trainer<S, T, detail::TermsOf<K>, detail::WeightsOf<K>>;
template <class S, class T, class K, detail::OptimizerArgument O>
Trainer(const S&, T, K, const O&, TrainerOptions) -> Trainer<S, T, detail::TermsOf<K>, detail::WeightsOf<K>>;
template <class S, class T, class K, detail::OptimizerArgument O, Precision P>
Trainer(const S&, T, K, const O&, P) -> Trainer<S, T, detail::TermsOf<K>, detail::WeightsOf<K>, P>;
template <class S, class T, class K, detail::OptimizerArgument O, Precision P>
Trainer(const S&, T, K, const O&, P, TrainerOptions)
    -> Trainer<S, T, detail::TermsOf<K>, detail::WeightsOf<K>, P>;

}  // namespace retort
