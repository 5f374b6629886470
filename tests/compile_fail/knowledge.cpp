// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mistakes with terms, their taps and their weights.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
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

namespace hint_student_tap_of_other_outputs {
struct Other {
    at::Tensor body;
};
}  // namespace hint_student_tap_of_other_outputs
#if defined(RETORT_CASE_hint_student_tap_of_other_outputs)
// expect: retort: the student's tap of a term does not read a tensor from the student's outputs
namespace hint_student_tap_of_other_outputs {
[[maybe_unused]] void run() {
    ConvNet student(4), teacher(6);
    Trainer trainer{student, Frozen{teacher},
                    Knowledge{Hint{tap<&Other::body>, tap<&ConvOutputs::late>, Conv1x1{}}}, Schedule{1.0},
                    Sgd{}};
    trainer.step(images(1)[0]);
}
}  // namespace hint_student_tap_of_other_outputs
#elif !defined(RETORT_CASE)
namespace hint_student_tap_of_other_outputs {
[[maybe_unused]] void run() {
    ConvNet student(4), teacher(6);
    Trainer trainer{student, Frozen{teacher},
                    Knowledge{Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, Conv1x1{}}},
                    Schedule{1.0}, Sgd{}};
    trainer.step(images(1)[0]);
}
}  // namespace hint_student_tap_of_other_outputs
#endif

#if defined(RETORT_CASE_hint_teacher_tap_of_other_outputs)
// expect: retort: the teacher's tap of a term does not read a tensor from the teacher's outputs
namespace hint_teacher_tap_of_other_outputs {
[[maybe_unused]] void run() {
    ConvNet student(4), teacher(6);
    Trainer trainer{student, Frozen{teacher},
                    Knowledge{Hint{tap<&ConvOutputs::early>, tap<"layer3">, Conv1x1{}}}, Schedule{1.0},
                    Sgd{}};
    trainer.step(images(1)[0]);
}
}  // namespace hint_teacher_tap_of_other_outputs
#elif !defined(RETORT_CASE)
namespace hint_teacher_tap_of_other_outputs {
[[maybe_unused]] void run() {
    ConvNet student(4), teacher(6);
    Trainer trainer{student, Frozen{teacher},
                    Knowledge{Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, Conv1x1{}}},
                    Schedule{1.0}, Sgd{}};
    trainer.step(images(1)[0]);
}
}  // namespace hint_teacher_tap_of_other_outputs
#endif

namespace cross_entropy_without_logits {
struct Silent {
    at::Tensor scores;
};
}  // namespace cross_entropy_without_logits
#if defined(RETORT_CASE_cross_entropy_without_logits)
// expect: retort: CrossEntropy needs logits: the student's outputs have no member .logits., and there is
namespace cross_entropy_without_logits {
[[maybe_unused]] void run() {
    Objective{Knowledge{CrossEntropy{}}, Schedule{1.0}}(Silent{}, NoOutputs{}, vectors(1)[0]);
}
}  // namespace cross_entropy_without_logits
#elif !defined(RETORT_CASE)
namespace cross_entropy_without_logits {
[[maybe_unused]] void run() {
    Objective{Knowledge{CrossEntropy{}}, Schedule{1.0}}(torch::rand({6, 3}), NoOutputs{}, vectors(1)[0]);
}
}  // namespace cross_entropy_without_logits
#endif

namespace soft_target_student_without_logits {
struct Silent {
    at::Tensor scores;
};
struct Heard {
    at::Tensor scores;
    friend at::Tensor logits(const Heard& outputs) { return outputs.scores; }
};
}  // namespace soft_target_student_without_logits
#if defined(RETORT_CASE_soft_target_student_without_logits)
// expect: retort: SoftTarget needs logits: the student's outputs have no member .logits.
namespace soft_target_student_without_logits {
[[maybe_unused]] void run() {
    Objective{Knowledge{SoftTarget{}}, Schedule{1.0}}(Silent{}, torch::rand({6, 3}), vectors(1)[0]);
}
}  // namespace soft_target_student_without_logits
#elif !defined(RETORT_CASE)
namespace soft_target_student_without_logits {
[[maybe_unused]] void run() {
    Objective{Knowledge{SoftTarget{}}, Schedule{1.0}}(Heard{}, torch::rand({6, 3}), vectors(1)[0]);
}
}  // namespace soft_target_student_without_logits
#endif

namespace soft_target_teacher_without_logits {
struct Silent {
    std::vector<at::Tensor> operator()(const at::Tensor& x) const { return {x}; }
};
}  // namespace soft_target_teacher_without_logits
#if defined(RETORT_CASE_soft_target_teacher_without_logits)
// expect: retort: SoftTarget needs logits: the teacher's outputs have no member .logits.
namespace soft_target_teacher_without_logits {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Silent{}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace soft_target_teacher_without_logits
#elif !defined(RETORT_CASE)
namespace soft_target_teacher_without_logits {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace soft_target_teacher_without_logits
#endif

#if defined(RETORT_CASE_schedules_fewer_than_terms)
// expect: retort: a Schedule has one weight for each term of the Knowledge; the numbers of weights and
namespace schedules_fewer_than_terms {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace schedules_fewer_than_terms
#elif !defined(RETORT_CASE)
namespace schedules_fewer_than_terms {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.1, 0.9},
                    Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace schedules_fewer_than_terms
#endif

#if defined(RETORT_CASE_schedules_more_than_terms)
// expect: retort: a Schedule has one weight for each term of the Knowledge; the numbers of weights and
namespace schedules_more_than_terms {
[[maybe_unused]] void run() { const Objective objective{Knowledge{CrossEntropy{}}, Schedule{0.1, 0.9}}; }
}  // namespace schedules_more_than_terms
#elif !defined(RETORT_CASE)
namespace schedules_more_than_terms {
[[maybe_unused]] void run() { const Objective objective{Knowledge{CrossEntropy{}}, Schedule{0.1}}; }
}  // namespace schedules_more_than_terms
#endif

namespace term_without_flags {
struct Careless {
    at::Tensor operator()(const auto&, const auto&, const auto&) const { return {}; }
};
struct Careful : Careless {
    static constexpr bool needs_teacher = false, needs_target = false;
};
}  // namespace term_without_flags
#if defined(RETORT_CASE_term_without_flags)
// expect: retort: every term of a Knowledge says what it needs: static constexpr bool needs_teacher,
namespace term_without_flags {
[[maybe_unused]] void run() { const Knowledge knowledge{Careless{}}; }
}  // namespace term_without_flags
#elif !defined(RETORT_CASE)
namespace term_without_flags {
[[maybe_unused]] void run() { const Knowledge knowledge{Careful{}}; }
}  // namespace term_without_flags
#endif

namespace term_gives_double {
template <class T>
struct Term {
    static constexpr bool needs_teacher = false, needs_target = false;
    T operator()(const auto&, const auto&, const auto&) const { return {}; }
};
}  // namespace term_gives_double
#if defined(RETORT_CASE_term_gives_double)
// expect: retort: a term of the Knowledge cannot be called as term[(]student_outputs, teacher_outputs,
namespace term_gives_double {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{Term<double>{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace term_gives_double
#elif !defined(RETORT_CASE)
namespace term_gives_double {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{Term<at::Tensor>{}}, Schedule{1.0}, Sgd{}};
}
}  // namespace term_gives_double
#endif

namespace term_is_not_const {
struct Changing {
    static constexpr bool needs_teacher = false, needs_target = false;
    at::Tensor operator()(const auto&, const auto&, const auto&) { return {}; }
};
struct Constant {
    static constexpr bool needs_teacher = false, needs_target = false;
    at::Tensor operator()(const auto&, const auto&, const auto&) const { return {}; }
};
}  // namespace term_is_not_const
#if defined(RETORT_CASE_term_is_not_const)
// expect: retort: a term of the Knowledge cannot be called as term[(]student_outputs, teacher_outputs,
namespace term_is_not_const {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{Changing{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace term_is_not_const
#elif !defined(RETORT_CASE)
namespace term_is_not_const {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{Constant{}}, Schedule{1.0}, Sgd{}};
}
}  // namespace term_is_not_const
#endif

#if defined(RETORT_CASE_terms_without_knowledge)
// expect: retort: the terms stand in a retort::Knowledge.*, their weights in a retort::Schedule
namespace terms_without_knowledge {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, CrossEntropy{}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace terms_without_knowledge
#elif !defined(RETORT_CASE)
namespace terms_without_knowledge {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace terms_without_knowledge
#endif

#if defined(RETORT_CASE_knowledge_is_empty)
// expect: retort: a Knowledge has at least one term
namespace knowledge_is_empty {
[[maybe_unused]] void run() { const Knowledge<> knowledge; }
}  // namespace knowledge_is_empty
#elif !defined(RETORT_CASE)
namespace knowledge_is_empty {
[[maybe_unused]] void run() { const Knowledge<CrossEntropy> knowledge; }
}  // namespace knowledge_is_empty
#endif

}  // namespace
