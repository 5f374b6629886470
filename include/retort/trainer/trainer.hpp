// SPDX-License-Identifier: BSL-1.0
/// \file
/// The trainer: student, teacher, knowledge and schedule composed.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/core/batch.hpp>
#include <retort/core/device.hpp>
#include <retort/core/explained.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/metrics/evaluate.hpp>
#include <retort/optim/policy.hpp>
#include <retort/teacher/detail/teacher_state.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/losses.hpp>
#include <retort/trainer/objective.hpp>
#include <retort/trainer/precision.hpp>
#include <retort/trainer/run_base.hpp>

namespace retort {

/// What one step computed.
template <class Outputs>
struct StepResult {
    Losses losses;
    Outputs outputs;  ///< of the student

    /// Calls `function(position, losses, outputs)` for every learner that learns: the student.
    template <class F>
    void each_learning(F&& function) const {
        function(std::size_t{0}, losses, outputs);
    }
};

/// Trains a student with a teacher's knowledge.
///
///     retort::Trainer trainer{student, retort::Frozen{teacher},
///                             retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 4.0}},
///                             retort::Schedule{0.1, 0.9},
///                             retort::Sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 5e-4}};
///     trainer.fit(train_batches, {.epochs = 240}, retort::ProgressBar{});
///
/// The optimizer is built in the first step, when all learnable parts have their sizes, for the parameters that
/// require a gradient at that time: parameters unfrozen later are not trained. The trainer changes neither the number
/// of threads nor the global random generators.
///
/// The history has one row per epoch: `epoch` (from 0), `learning_rate`, `loss`, each term by name (the mean over the
/// samples, before the weight, of the steps that computed it) and its weight with the prefix `weight_`, `accuracy` (on
/// the training batches, in training mode), `samples`, `seconds`, `samples_per_second`; then what the callbacks add.
///
/// `losses`, `step`, `fit`, `save` and `resume` are those of every run (trainer/run_base.hpp).
template <class Student, class TeacherPolicy, class KnowledgePolicy, class SchedulePolicy,
          Precision PrecisionPolicy = Float32>
class Trainer : public detail::RunBase<
                    Trainer<Student, TeacherPolicy, KnowledgePolicy, SchedulePolicy, PrecisionPolicy>,
                    PrecisionPolicy> {
    using Base = detail::RunBase<Trainer, PrecisionPolicy>;
    static_assert(Network<Student>,
                  "retort: the student is not a network: expected a module holder, a shared_ptr to a module, "
                  "or a module");
    static_assert(
        !Network<TeacherPolicy>,
        "retort: the teacher is a bare network; wrap it in a teacher policy: retort::Frozen{network}, or "
        "retort::NoTeacher{}");
    static_assert(
        !detail::trains_teacher<KnowledgePolicy> || LearnsByGradient<TeacherPolicy>,
        "retort: a term of the Knowledge trains the teacher (ForTeacher), but this teacher is not trainable: "
        "expected retort::PartiallyTrainable{network, {.parameters = ...}}");
    static_assert(!LearnsByGradient<TeacherPolicy> || detail::trains_teacher<KnowledgePolicy>,
                  "retort: nothing would train this teacher: a PartiallyTrainable teacher needs a "
                  "retort::ForTeacher{term} in the Knowledge; if it should not learn, use retort::Frozen");

  public:
    /// \param student a module holder, a `shared_ptr` to a module, or a module object that outlives the trainer
    /// \param optimizer see `OptimizerPolicy`
    /// \throws ConfigError if the device does not exist, or the teacher is on another one or shares parameters with the
    /// student
    template <class S, class O>
        requires std::same_as<std::remove_cvref_t<S>, Student>
    explicit Trainer(S&& student, TeacherPolicy teacher, KnowledgePolicy knowledge, SchedulePolicy schedule,
                     O&& optimizer, const TrainerOptions& options = {})
        : Trainer(std::forward<S>(student), std::move(teacher), std::move(knowledge), std::move(schedule),
                  std::forward<O>(optimizer), PrecisionPolicy{}, options) {}
    /// \param precision `Float32`, `Bfloat16` or `Float16`: see trainer/precision.hpp
    /// \throws ConfigError as above, or if the device does not support the precision
    template <class S, class O>
        requires std::same_as<std::remove_cvref_t<S>, Student>
    explicit Trainer(S&& student, TeacherPolicy teacher, KnowledgePolicy knowledge, SchedulePolicy schedule,
                     O&& optimizer, PrecisionPolicy precision, const TrainerOptions& options = {})
        : Base(not_owned(NetworkRef<Student>(student).module()),
               {{"student", "", &NetworkRef<Student>(student).module(),
                 as_policy(std::forward<O>(optimizer))}},
               precision),
          student_(student),
          teacher_(std::move(teacher)),
          objective_(std::move(knowledge), std::move(schedule)) {
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
        objective_.knowledge().bind(student_);
        check_devices();
        detail::check_precision<PrecisionPolicy>(this->device(), "the student");
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

    /// Evaluates the student: see `retort::evaluate`. Metrics that compare with a teacher get this trainer's.
    template <class Source, class... Metrics>
    auto evaluate(Source&& source, Metrics... metrics) {
        return detail::measured(student_, teacher_, source, std::move(metrics)...);
    }

    /// The student's module.
    torch::nn::Module& student() const { return this->module(); }
    TeacherPolicy& teacher() { return teacher_; }
    const auto& objective() const { return objective_; }
    /// The learnable parts of the knowledge.
    std::shared_ptr<torch::nn::Module> learnable_parts() const { return objective_.knowledge().module(); }

    // What `detail::RunBase` requires.
    template <class B>
    auto losses_of(const B& batch) {
        return losses_of(batch, objective_.weights(this->progress()));
    }
    template <class B>
    void size_parts(const B& batch) {
        losses_of(batch, Weights{});  // all 0, since neither terms nor schedules have their state yet
    }
    std::vector<std::vector<std::string>> term_names() const {
        return {std::vector<std::string>(objective_.names().begin(), objective_.names().end())};
    }
    std::vector<std::shared_ptr<torch::nn::Module>> learnable_modules() const { return {learnable_parts()}; }
    bool sized() const { return objective_.knowledge().prepared(); }
    void build_optimizers() {
        auto parts = detail::trainable_named_parameters(*learnable_parts(), "knowledge.");
        if constexpr (LearnsByGradient<TeacherPolicy>) {
            for (NamedParameter& each : teacher_.trainable_parameters())
                parts.push_back({std::string("teacher.").append(each.name), std::move(each.tensor)});
        }
        this->build_optimizer(0, parts);
    }
    void archive(Archive& archive) {
        archive.in("student", [&] {
            archive.expect("type", std::string(detail::type_name<Student>()));
            detail::archive_module(archive, student_.module());
        });
        archive.in("precision",
                   [&] { archive.expect("type", std::string(detail::type_name<PrecisionPolicy>())); });
        archive.in("teacher",
                   [&] { detail::archive_teacher(archive, teacher_, this->state().teacher_hash()); });
        archive.in("objective", [&] { archive.expect("terms", objective_.description()); });
    }
    void archive_parts(Archive& archive) {
        archive.in("knowledge", [&] { objective_.knowledge().checkpoint(archive); });
        archive.in("schedule", [&] { objective_.schedule().checkpoint(archive); });
    }
    void finish_update() {
        if constexpr (requires { teacher_.update(this->progress()); }) teacher_.update(this->progress());
    }

  private:
    using Weights = typename Objective<KnowledgePolicy, SchedulePolicy>::Weights;

    template <class O>
    static OptimizerPolicy as_policy(O&& optimizer) {
        static_assert(
            std::convertible_to<O, OptimizerPolicy>,
            "retort: not an optimizer: expected a recipe (retort::Sgd, retort::FromTorch<...>), a "
            "torch::optim::Optimizer in a variable that outlives the trainer, or a shared_ptr to one");
        return std::forward<O>(optimizer);
    }
    static std::shared_ptr<torch::nn::Module> not_owned(torch::nn::Module& module) {
        return {std::shared_ptr<void>(), &module};
    }

    template <class B>
    auto losses_of(const B& batch, const Weights& weights) {
        const auto& value = detail::input_of(batch, this->progress());
        using I = std::remove_cvref_t<decltype(value)>;
        static_assert(Forwards<Student, I>,
                      "retort: the forward of the student does not take the input of the batch");
        static_assert(Teacher<TeacherPolicy, I>,
                      "retort: the teacher cannot be called with the input of the batch");
        using TeacherOutputs = TeacherOutputsOf<TeacherPolicy, I>;
        std::optional<TeacherOutputs> teacher;
        const at::DeviceType device = value.device().type();
        if (objective_.needs_teacher(weights) || !objective_.knowledge().prepared()) {
            teacher.emplace(detail::explained(
                this->progress(), [&] { return taught(value, objective_.trains_teacher(weights)); },
                [&] { return "teacher; input: " + detail::input_text(value); }));
        }
        auto outputs = detail::explained(
            this->progress(),
            [&] {
                return detail::in_precision<PrecisionPolicy>(device,
                                                             [&] { return student_->forward(value); });
            },
            [&] { return "student; input: " + detail::input_text(value); });
        if (!prepared_) prepare(outputs, teacher, batch);
        Losses losses =
            objective_.losses(outputs, teacher ? &*teacher : nullptr, batch, this->progress(), weights);
        return StepResult<decltype(outputs)>{std::move(losses), std::move(outputs)};
    }

    /// The teacher's outputs: constants, unless a term trains it.
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

    void check_teacher() const {
        std::unordered_set<const void*> own;
        for (const at::Tensor& parameter : student_.module().parameters())
            own.insert(parameter.unsafeGetTensorImpl());
        for (const torch::nn::Module* each : detail::teacher_modules(teacher_)) {
            for (const auto& parameter : each->named_parameters()) {
                if (own.contains(parameter.value().unsafeGetTensorImpl())) {
                    throw ConfigError(detail::concat(
                        "teacher: expected no parameters shared with the student, found \"", parameter.key(),
                        "\" in both (a copied module shares its parameters; clone() makes new ones)"));
                }
            }
        }
    }

    void check_devices() const {
        const at::Device device = detail::device_of(student_.module());
        for (const torch::nn::Module* each : detail::teacher_modules(teacher_)) {
            if (!each->parameters().empty() && detail::device_of(*each) != device) {
                throw ConfigError(detail::concat("teacher: expected it on the student's device, ", device,
                                                 ", found it on ", detail::device_of(*each)));
            }
        }
    }

    NetworkRef<Student> student_;
    TeacherPolicy teacher_;
    Objective<KnowledgePolicy, SchedulePolicy> objective_;
    bool prepared_ = false;
};

namespace detail {

// Distinguishes a Schedule from the optimizer, which takes its place if the weights are in the Knowledge.
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
