// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mistakes with trainers, optimizers, batches, callbacks and measurements.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/adaptor/for_teacher.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/metrics/agreement.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

using namespace retort;
using retort_test::ConvNet;
using retort_test::ConvOutputs;
using retort_test::images;
using retort_test::PairBatch;
using retort_test::Perceptron;
using retort_test::PerceptronImpl;
using retort_test::vectors;

namespace {

#if defined(RETORT_CASE_targets_of_unlabeled_batch)
// expect: retort: a term of the Knowledge needs targets, but the batches have none
namespace targets_of_unlabeled_batch {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(torch::rand({2, 4}));
}
}  // namespace targets_of_unlabeled_batch
#elif !defined(RETORT_CASE)
namespace targets_of_unlabeled_batch {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(std::pair{torch::rand({2, 4}), torch::tensor({0, 1})});
}
}  // namespace targets_of_unlabeled_batch
#endif

namespace forward_takes_other_input {
struct ReaderImpl : torch::nn::Module {
    at::Tensor forward(const std::vector<std::string>&) { return {}; }
};
TORCH_MODULE(Reader);
}  // namespace forward_takes_other_input
#if defined(RETORT_CASE_forward_takes_other_input)
// expect: retort: the forward of the student does not take the input of the batch
namespace forward_takes_other_input {
[[maybe_unused]] void run() {
    Reader student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace forward_takes_other_input
#elif !defined(RETORT_CASE)
namespace forward_takes_other_input {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace forward_takes_other_input
#endif

namespace teacher_takes_other_input {
struct Reader {
    at::Tensor operator()(const std::string&) const { return {}; }
};
}  // namespace teacher_takes_other_input
#if defined(RETORT_CASE_teacher_takes_other_input)
// expect: retort: the teacher cannot be called with the input of the batch
namespace teacher_takes_other_input {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Reader{}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace teacher_takes_other_input
#elif !defined(RETORT_CASE)
namespace teacher_takes_other_input {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace teacher_takes_other_input
#endif

#if defined(RETORT_CASE_teacher_is_bare_network)
// expect: retort: the teacher is a bare network; wrap it in a teacher policy: retort::Frozen.network., or
namespace teacher_is_bare_network {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, teacher, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace teacher_is_bare_network
#elif !defined(RETORT_CASE)
namespace teacher_is_bare_network {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace teacher_is_bare_network
#endif

#if defined(RETORT_CASE_term_needs_absent_teacher)
// expect: retort: a term of the Knowledge needs a teacher, but there is none [(]NoTeacher[)]
namespace term_needs_absent_teacher {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, NoTeacher{}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace term_needs_absent_teacher
#elif !defined(RETORT_CASE)
namespace term_needs_absent_teacher {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace term_needs_absent_teacher
#endif

namespace student_is_no_network {
struct Plain {
    at::Tensor forward(const at::Tensor& x) { return x; }
};
}  // namespace student_is_no_network
#if defined(RETORT_CASE_student_is_no_network)
// expect: retort: the student is not a network: expected a module holder, a shared_ptr to a module, or a
namespace student_is_no_network {
[[maybe_unused]] void run() {
    Plain student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
}
}  // namespace student_is_no_network
#elif !defined(RETORT_CASE)
namespace student_is_no_network {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
}
}  // namespace student_is_no_network
#endif

#if defined(RETORT_CASE_student_is_temporary_module)
// expect: retort: a module object must outlive its trainer: pass a variable, a holder or a shared_ptr
namespace student_is_temporary_module {
[[maybe_unused]] void run() {
    Trainer trainer{PerceptronImpl(), NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace student_is_temporary_module
#elif !defined(RETORT_CASE)
namespace student_is_temporary_module {
[[maybe_unused]] void run() {
    PerceptronImpl object;
    Trainer trainer{object, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace student_is_temporary_module
#endif

#if defined(RETORT_CASE_optimizer_is_options)
// expect: retort: not an optimizer: expected a recipe [(]retort::Sgd
namespace optimizer_is_options {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    torch::optim::SGDOptions(0.1)};
    trainer.step(vectors(1)[0]);
}
}  // namespace optimizer_is_options
#elif !defined(RETORT_CASE)
namespace optimizer_is_options {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    FromTorch<torch::optim::SGD>{torch::optim::SGDOptions(0.1)}};
    trainer.step(vectors(1)[0]);
}
}  // namespace optimizer_is_options
#endif

#if defined(RETORT_CASE_optimizer_is_temporary)
// expect: retort: not an optimizer: .* in a variable that outlives the trainer
namespace optimizer_is_temporary {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    torch::optim::SGD(student->parameters(), 0.1)};
    trainer.step(vectors(1)[0]);
}
}  // namespace optimizer_is_temporary
#elif !defined(RETORT_CASE)
namespace optimizer_is_temporary {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    torch::optim::SGD optimizer(student->parameters(), 0.1);
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, optimizer};
    trainer.step(vectors(1)[0]);
}
}  // namespace optimizer_is_temporary
#endif

#if defined(RETORT_CASE_batch_is_no_batch)
// expect: retort: not a batch: expected a tensor, a pair or tuple of tensors, a member .input. or
namespace batch_is_no_batch {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(std::vector<float>{1, 2, 3, 4});
}
}  // namespace batch_is_no_batch
#elif !defined(RETORT_CASE)
namespace batch_is_no_batch {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace batch_is_no_batch
#endif

#if defined(RETORT_CASE_source_is_no_range_of_batches)
// expect: retort: batches come from an input range of batches, or from a callable that takes the epoch
namespace source_is_no_range_of_batches {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(std::vector<int>{1, 2}, {});
}
}  // namespace source_is_no_range_of_batches
#elif !defined(RETORT_CASE)
namespace source_is_no_range_of_batches {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {});
}
}  // namespace source_is_no_range_of_batches
#endif

#if defined(RETORT_CASE_source_callable_without_epoch)
// expect: retort: batches come from an input range of batches, or from a callable that takes the epoch
namespace source_callable_without_epoch {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit([] { return vectors(1); }, {});
}
}  // namespace source_callable_without_epoch
#elif !defined(RETORT_CASE)
namespace source_callable_without_epoch {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit([](std::int64_t) { return vectors(1); }, {});
}
}  // namespace source_callable_without_epoch
#endif

namespace hook_with_wrong_signature {
struct Wrong {
    void on_epoch_end(const Progress&, double) {}
};
struct Right {
    void on_epoch_end(FitContext&) {}
};
}  // namespace hook_with_wrong_signature
#if defined(RETORT_CASE_hook_with_wrong_signature)
// expect: retort: a callback has a member on_epoch_end that cannot be called with
namespace hook_with_wrong_signature {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, Wrong{});
}
}  // namespace hook_with_wrong_signature
#elif !defined(RETORT_CASE)
namespace hook_with_wrong_signature {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, Right{});
}
}  // namespace hook_with_wrong_signature
#endif

namespace hook_on_const_callback {
struct Counting {
    int steps = 0;
    void on_step_end(FitContext&) { ++steps; }
};
}  // namespace hook_on_const_callback
#if defined(RETORT_CASE_hook_on_const_callback)
// expect: retort: a callback has a member on_step_end that cannot be called
namespace hook_on_const_callback {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    const Counting counting{};
    trainer.fit(vectors(1), {}, counting);
}
}  // namespace hook_on_const_callback
#elif !defined(RETORT_CASE)
namespace hook_on_const_callback {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    Counting counting{};
    trainer.fit(vectors(1), {}, counting);
}
}  // namespace hook_on_const_callback
#endif

namespace hook_gives_int {
template <class T>
struct Hook {
    T on_step_end(FitContext&) { return 1; }
};
}  // namespace hook_gives_int
#if defined(RETORT_CASE_hook_gives_int)
// expect: retort: the hook on_step_end of a callback must return nothing or a bool
namespace hook_gives_int {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, Hook<int>{});
}
}  // namespace hook_gives_int
#elif !defined(RETORT_CASE)
namespace hook_gives_int {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, Hook<bool>{});
}
}  // namespace hook_gives_int
#endif

namespace callback_without_hook {
struct Misspelt {
    void on_epoch_ended(FitContext&) {}
};
struct Spelt {
    void on_epoch_end(FitContext&) {}
};
}  // namespace callback_without_hook
#if defined(RETORT_CASE_callback_without_hook)
// expect: retort: a callback has no hook: see retort/callback/concept.hpp for the names
namespace callback_without_hook {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, Misspelt{});
}
}  // namespace callback_without_hook
#elif !defined(RETORT_CASE)
namespace callback_without_hook {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, Spelt{});
}
}  // namespace callback_without_hook
#endif

#if defined(RETORT_CASE_lambda_hook_takes_other_argument)
// expect: retort: a function given to retort::on_epoch_end cannot be called with
namespace lambda_hook_takes_other_argument {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, on_epoch_end([](int) {}));
}
}  // namespace lambda_hook_takes_other_argument
#elif !defined(RETORT_CASE)
namespace lambda_hook_takes_other_argument {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {}, on_epoch_end([](FitContext&) {}));
}
}  // namespace lambda_hook_takes_other_argument
#endif

#if defined(RETORT_CASE_metric_needs_absent_teacher)
// expect: retort: a metric needs a teacher: use Trainer::evaluate, or evaluate[(]network, teacher,
namespace metric_needs_absent_teacher {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    evaluate(student, vectors(1), metrics::Agreement{});
}
}  // namespace metric_needs_absent_teacher
#elif !defined(RETORT_CASE)
namespace metric_needs_absent_teacher {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    evaluate(student, Frozen{teacher}, vectors(1), metrics::Agreement{});
}
}  // namespace metric_needs_absent_teacher
#endif

#if defined(RETORT_CASE_evaluate_unlabeled)
// expect: retort: metrics need targets, but the batches have none
namespace evaluate_unlabeled {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    evaluate(student, std::vector<at::Tensor>{});
}
}  // namespace evaluate_unlabeled
#elif !defined(RETORT_CASE)
namespace evaluate_unlabeled {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    evaluate(student, vectors(1));
}
}  // namespace evaluate_unlabeled
#endif

namespace evaluate_without_logits {
struct SilentImpl : torch::nn::Module {
    std::vector<at::Tensor> forward(const at::Tensor& x) { return {x}; }
};
TORCH_MODULE(Silent);
}  // namespace evaluate_without_logits
#if defined(RETORT_CASE_evaluate_without_logits)
// expect: retort: metrics need logits: the outputs of the network have no member .logits.
namespace evaluate_without_logits {
[[maybe_unused]] void run() {
    Silent net;
    evaluate(net, vectors(1));
}
}  // namespace evaluate_without_logits
#elif !defined(RETORT_CASE)
namespace evaluate_without_logits {
[[maybe_unused]] void run() {
    Perceptron net;
    evaluate(net, vectors(1));
}
}  // namespace evaluate_without_logits
#endif

#if defined(RETORT_CASE_validation_of_no_batches)
// expect: retort: batches come from an input range of batches
namespace validation_of_no_batches {
[[maybe_unused]] void run() { Validation validation{std::vector<int>{}}; }
}  // namespace validation_of_no_batches
#elif !defined(RETORT_CASE)
namespace validation_of_no_batches {
[[maybe_unused]] void run() { Validation validation{vectors(1)}; }
}  // namespace validation_of_no_batches
#endif

#if defined(RETORT_CASE_schedule_within_fresh_optimizer)
// expect: retort: a learning-rate schedule must be outermost
namespace schedule_within_fresh_optimizer {
[[maybe_unused]] void run() {
    [[maybe_unused]] const RebuiltEachEpoch fresh{WithLearningRate{Sgd{}, Cosine{.initial = 0.1}}};
}
}  // namespace schedule_within_fresh_optimizer
#elif !defined(RETORT_CASE)
namespace schedule_within_fresh_optimizer {
[[maybe_unused]] void run() {
    [[maybe_unused]] const WithLearningRate fresh{RebuiltEachEpoch{Sgd{}}, Cosine{.initial = 0.1}};
}
}  // namespace schedule_within_fresh_optimizer
#endif

#if defined(RETORT_CASE_cached_teacher_that_learns)
// expect: retort: a teacher that learns along cannot be Cached: its outputs change during training
namespace cached_teacher_that_learns {
[[maybe_unused]] void run() {
    Perceptron student, average;
    const Cached teacher{MovingAverage{average, student}, {.directory = "outputs"}};
}
}  // namespace cached_teacher_that_learns
#elif !defined(RETORT_CASE)
namespace cached_teacher_that_learns {
[[maybe_unused]] void run() {
    Perceptron network;
    const Cached teacher{Frozen{network}, {.directory = "outputs"}};
}
}  // namespace cached_teacher_that_learns
#endif

#if defined(RETORT_CASE_cached_snapshot)
// expect: retort: a teacher that learns along cannot be Cached: its outputs change during training
namespace cached_snapshot {
[[maybe_unused]] void run() {
    Perceptron student, past;
    const Cached teacher{Ensemble{Snapshot{past, student}, Frozen{student}}, {.directory = "outputs"}};
}
}  // namespace cached_snapshot
#elif !defined(RETORT_CASE)
namespace cached_snapshot {
[[maybe_unused]] void run() {
    Perceptron student, past;
    const Cached teacher{Ensemble{Frozen{past}, Frozen{student}}, {.directory = "outputs"}};
}
}  // namespace cached_snapshot
#endif

#if defined(RETORT_CASE_snapshot_that_does_not_teach)
// expect: retort: TakeSnapshot is for a trainer whose teacher is the Snapshot: this trainer.s teacher never changes
namespace snapshot_that_does_not_teach {
[[maybe_unused]] void run() {
    Perceptron student, past;
    const Snapshot snapshot{past, student};
    Trainer trainer{student, Frozen{past}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {.epochs = 1}, TakeSnapshot{snapshot});
}
}  // namespace snapshot_that_does_not_teach
#elif !defined(RETORT_CASE)
namespace snapshot_that_does_not_teach {
[[maybe_unused]] void run() {
    Perceptron student, past;
    const Snapshot snapshot{past, student};
    Trainer trainer{student, snapshot, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.fit(vectors(1), {.epochs = 1}, TakeSnapshot{snapshot});
}
}  // namespace snapshot_that_does_not_teach
#endif

#if defined(RETORT_CASE_teacher_term_with_frozen_teacher)
// expect: retort: a term of the Knowledge trains the teacher [(]ForTeacher[)], but this teacher is not trainable: expected
namespace teacher_term_with_frozen_teacher {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}, ForTeacher{CrossEntropy{}}},
                    Schedule{1.0, 1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace teacher_term_with_frozen_teacher
#elif !defined(RETORT_CASE)
namespace teacher_term_with_frozen_teacher {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, PartiallyTrainable{teacher, {.parameters = "last.*"}},
                    Knowledge{SoftTarget{}, ForTeacher{CrossEntropy{}}}, Schedule{1.0, 1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace teacher_term_with_frozen_teacher
#endif

#if defined(RETORT_CASE_trainable_teacher_without_term)
// expect: retort: nothing would train this teacher: a PartiallyTrainable teacher needs a retort::ForTeacher.term. in the Knowledge
namespace trainable_teacher_without_term {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, PartiallyTrainable{teacher, {.parameters = "last.*"}}, Knowledge{SoftTarget{}},
                    Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace trainable_teacher_without_term
#elif !defined(RETORT_CASE)
namespace trainable_teacher_without_term {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace trainable_teacher_without_term
#endif

#if defined(RETORT_CASE_trainable_teacher_in_ensemble)
// expect: retort: a member of an Ensemble gets no gradient: a PartiallyTrainable teacher would not learn
namespace trainable_teacher_in_ensemble {
[[maybe_unused]] void run() {
    Perceptron teacher, other;
    const Ensemble both{PartiallyTrainable{teacher, {.parameters = "last.*"}}, Frozen{other}};
}
}  // namespace trainable_teacher_in_ensemble
#elif !defined(RETORT_CASE)
namespace trainable_teacher_in_ensemble {
[[maybe_unused]] void run() {
    Perceptron teacher, other;
    const Ensemble both{Frozen{teacher}, Frozen{other}};
}
}  // namespace trainable_teacher_in_ensemble
#endif

#if defined(RETORT_CASE_teacher_term_behind_teacher)
// expect: retort: the term of a ForTeacher cannot need a teacher: the teacher has none
namespace teacher_term_behind_teacher {
[[maybe_unused]] const auto term = [] { return ForTeacher{SoftTarget{}}; };
}  // namespace teacher_term_behind_teacher
#elif !defined(RETORT_CASE)
namespace teacher_term_behind_teacher {
[[maybe_unused]] const auto term = [] { return ForTeacher{CrossEntropy{}}; };
}  // namespace teacher_term_behind_teacher
#endif

}  // namespace
