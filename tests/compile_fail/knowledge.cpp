// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mistakes with terms, their taps and their weights.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/adaptor/filtered.hpp>
#include <retort/knowledge/adaptor/for_teacher.hpp>
#include <retort/knowledge/adaptor/standardized.hpp>
#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
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
// expect: retort: a term needs the student's logits: the student's outputs have no member .logits., and there is
// expect: student_logits.*CrossEntropy
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
// expect: retort: a term needs the student's logits: the student's outputs have no member .logits.
// expect: student_logits.*SoftTarget
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
// expect: retort: a term needs the teacher's logits: the teacher's outputs have no member .logits.
// expect: teacher_logits.*SoftTarget
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
// expect: retort: every term of a Knowledge must declare what it needs: static constexpr bool needs_teacher,
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
// expect: retort: expected the terms in a retort::Knowledge.* and their weights in a retort::Schedule
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

#if defined(RETORT_CASE_weights_of_some_terms)
// expect: retort: some terms of a Knowledge have weights [(]weight [*] term[)] and some have none
namespace weights_of_some_terms {
[[maybe_unused]] void run() { const Knowledge knowledge{0.1 * CrossEntropy{}, SoftTarget{}}; }
}  // namespace weights_of_some_terms
#elif !defined(RETORT_CASE)
namespace weights_of_some_terms {
[[maybe_unused]] void run() { const Knowledge knowledge{0.1 * CrossEntropy{}, 0.9 * SoftTarget{}}; }
}  // namespace weights_of_some_terms
#endif

#if defined(RETORT_CASE_weights_and_schedule)
// expect: retort: the terms of the Knowledge already have weights [(]weight [*] term[)]: leave out the Schedule
namespace weights_and_schedule {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{0.1 * CrossEntropy{}, 0.9 * SoftTarget{}},
                    Schedule{1.0, 1.0}, Sgd{}};
}
}  // namespace weights_and_schedule
#elif !defined(RETORT_CASE)
namespace weights_and_schedule {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{0.1 * CrossEntropy{}, 0.9 * SoftTarget{}}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace weights_and_schedule
#endif

#if defined(RETORT_CASE_terms_without_weights)
// expect: retort: the terms have no weights: pass a retort::Schedule.*with one weight for each, or write
namespace terms_without_weights {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}}, Sgd{}};
}
}  // namespace terms_without_weights
#elif !defined(RETORT_CASE)
namespace terms_without_weights {
[[maybe_unused]] void run() {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{1.0 * SoftTarget{}}, Sgd{}};
    trainer.step(vectors(1)[0]);
}
}  // namespace terms_without_weights
#endif

#if defined(RETORT_CASE_teacher_term_in_sum)
// expect: retort: a ForTeacher term belongs directly in the Knowledge, not in a Sum
namespace teacher_term_in_sum {
[[maybe_unused]] void run() { const Sum sum{SoftTarget{}, ForTeacher{CrossEntropy{}}}; }
}  // namespace teacher_term_in_sum
#elif !defined(RETORT_CASE)
namespace teacher_term_in_sum {
[[maybe_unused]] void run() { const Knowledge knowledge{SoftTarget{}, ForTeacher{CrossEntropy{}}}; }
}  // namespace teacher_term_in_sum
#endif

#if defined(RETORT_CASE_teacher_term_in_standardized)
// expect: retort: ForTeacher must wrap a term that changes logits, not the other way around
namespace teacher_term_in_standardized {
[[maybe_unused]] void run() { const Standardized term{ForTeacher{CrossEntropy{}}}; }
}  // namespace teacher_term_in_standardized
#elif !defined(RETORT_CASE)
namespace teacher_term_in_standardized {
[[maybe_unused]] void run() { const ForTeacher term{Standardized{CrossEntropy{}}}; }
}  // namespace teacher_term_in_standardized
#endif

namespace state_within_custom_term {
struct Recalling {
    static constexpr bool needs_teacher = false, needs_target = false;
    at::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return logits(student).sum();
    }
    void checkpoint(Archive&) {}
};
template <class Term>
struct Careless {
    static constexpr bool needs_teacher = false, needs_target = false;
    Term term;
    at::Tensor operator()(const auto& student, const auto& teacher, const auto& batch) const {
        return -term(student, teacher, batch);
    }
};
template <class Term>
struct Negative : TermAdaptor<Term> {
    at::Tensor operator()(const auto& student, const auto& teacher, const auto& batch,
                          const Progress& progress) const {
        return -this->call(student, teacher, batch, progress);
    }
};
template <class Term>
Negative(Term) -> Negative<Term>;
}  // namespace state_within_custom_term
#if defined(RETORT_CASE_state_within_custom_term)
// expect: retort: a policy holds another one with state, but has no member void checkpoint[(]retort::Archive&[)]
namespace state_within_custom_term {
[[maybe_unused]] void run() {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{Careless<Recalling>{}}, Schedule{1.0}, Sgd{}};
    trainer.save("state");
}
}  // namespace state_within_custom_term
#elif !defined(RETORT_CASE)
namespace state_within_custom_term {
[[maybe_unused]] void run() {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{Negative{Recalling{}}}, Schedule{1.0}, Sgd{}};
    trainer.save("state");
}
}  // namespace state_within_custom_term
#endif

namespace state_within_twice_nested_term {
struct Recalling {
    static constexpr bool needs_teacher = false, needs_target = false;
    at::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return logits(student).sum();
    }
    void checkpoint(Archive&) {}
};
template <class Term>
struct Careless {
    static constexpr bool needs_teacher = false, needs_target = false;
    Term term;
    at::Tensor operator()(const auto& student, const auto& teacher, const auto& batch) const {
        return -term(student, teacher, batch);
    }
};
template <class Term>
struct Negative : TermAdaptor<Term> {
    at::Tensor operator()(const auto& student, const auto& teacher, const auto& batch,
                          const Progress& progress) const {
        return -this->call(student, teacher, batch, progress);
    }
};
template <class Term>
Negative(Term) -> Negative<Term>;
}  // namespace state_within_twice_nested_term
#if defined(RETORT_CASE_state_within_twice_nested_term)
// expect: retort: a policy holds another one with state, but has no member void checkpoint[(]retort::Archive&[)]
namespace state_within_twice_nested_term {
[[maybe_unused]] void run() {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{Sum{Negative{Careless<Recalling>{}}}}, Schedule{1.0},
                    Sgd{}};
    trainer.save("state");
}
}  // namespace state_within_twice_nested_term
#elif !defined(RETORT_CASE)
namespace state_within_twice_nested_term {
[[maybe_unused]] void run() {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{Sum{Negative{Negative<Negative<Recalling>>{}}}},
                    Schedule{1.0}, Sgd{}};
    trainer.save("state");
}
}  // namespace state_within_twice_nested_term
#endif

namespace learnable_parts_within_custom_term {
template <class Term>
struct Careless {
    static constexpr bool needs_teacher = true, needs_target = false;
    Term term;
    at::Tensor operator()(const auto& student, const auto& teacher, const auto& batch) const {
        return -term(student, teacher, batch);
    }
};
template <class Term>
Careless(Term) -> Careless<Term>;
[[maybe_unused]] const auto hint = [] {
    return Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, Conv1x1{}};
};
}  // namespace learnable_parts_within_custom_term
#if defined(RETORT_CASE_learnable_parts_within_custom_term)
// expect: retort: the term in the member .term. has learnable parts or trains the teacher
namespace learnable_parts_within_custom_term {
[[maybe_unused]] void run() { const Knowledge knowledge{Careless{hint()}}; }
}  // namespace learnable_parts_within_custom_term
#elif !defined(RETORT_CASE)
namespace learnable_parts_within_custom_term {
[[maybe_unused]] void run() { const Knowledge knowledge{Careless{SoftTarget{}}}; }
}  // namespace learnable_parts_within_custom_term
#endif

namespace state_within_custom_schedule {
struct Recalling {
    double weight(const Progress&) const { return 1.0; }
    void checkpoint(Archive&) {}
};
struct Careless {
    Recalling schedule;
    double weight(const Progress& progress) const { return 2 * schedule.weight(progress); }
};
struct Doubled : ScheduleAdaptor<Recalling> {
    double weight(const Progress& progress) const { return 2 * schedule().weight(progress); }
};
}  // namespace state_within_custom_schedule
#if defined(RETORT_CASE_state_within_custom_schedule)
// expect: retort: a policy holds another one with state, but has no member void checkpoint[(]retort::Archive&[)]
namespace state_within_custom_schedule {
[[maybe_unused]] void run() {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{WarmUp{Careless{}, {}} * CrossEntropy{}}, Sgd{}};
    trainer.save("state");
}
}  // namespace state_within_custom_schedule
#elif !defined(RETORT_CASE)
namespace state_within_custom_schedule {
[[maybe_unused]] void run() {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{WarmUp{Doubled{}, {}} * CrossEntropy{}}, Sgd{}};
    trainer.save("state");
}
}  // namespace state_within_custom_schedule
#endif

namespace filter_with_learnable_parts {
struct Plain {
    at::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return torch::ones({logits(student).size(0)});
    }
};
struct Learning : Plain {
    std::shared_ptr<torch::nn::Module> module() const { return nullptr; }
};
}  // namespace filter_with_learnable_parts
#if defined(RETORT_CASE_filter_with_learnable_parts)
// expect: retort: a filter with learnable parts [(]a member module[)]: nothing would train them
namespace filter_with_learnable_parts {
[[maybe_unused]] void run() { const Filtered term{SoftTarget{}, Learning{}}; }
}  // namespace filter_with_learnable_parts
#elif !defined(RETORT_CASE)
namespace filter_with_learnable_parts {
[[maybe_unused]] void run() { const Filtered term{SoftTarget{}, Plain{}}; }
}  // namespace filter_with_learnable_parts
#endif

#if defined(RETORT_CASE_two_learning_rate_schedules)
// expect: retort: an optimizer has one learning-rate schedule
namespace two_learning_rate_schedules {
[[maybe_unused]] void run() {
    Perceptron net;
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    WithLearningRate<WithLearningRate<Sgd, Cosine>, Linear>{{Sgd{}, Cosine{}}, Linear{}}};
}
}  // namespace two_learning_rate_schedules
#elif !defined(RETORT_CASE)
namespace two_learning_rate_schedules {
[[maybe_unused]] void run() {
    Perceptron net;
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    WithLearningRate{Sgd{}, Cosine{}}};
}
}  // namespace two_learning_rate_schedules
#endif

namespace learning_rate_schedule_within_custom_recipe {
template <class Recipe>
struct Custom {
    Recipe recipe;
    auto build(const std::vector<NamedParameter>& parameters) const { return recipe.build(parameters); }
};
}  // namespace learning_rate_schedule_within_custom_recipe
#if defined(RETORT_CASE_learning_rate_schedule_within_custom_recipe)
// expect: retort: a learning-rate schedule must be outermost
namespace learning_rate_schedule_within_custom_recipe {
[[maybe_unused]] void run() {
    Perceptron net;
    using Inner = WithLearningRate<Sgd, Cosine>;
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    Custom<Inner>{{Sgd{}, Cosine{}}}};
}
}  // namespace learning_rate_schedule_within_custom_recipe
#elif !defined(RETORT_CASE)
namespace learning_rate_schedule_within_custom_recipe {
[[maybe_unused]] void run() {
    Perceptron net;
    using Inner = ParameterGroups<Sgd>;
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    WithLearningRate{Custom<Inner>{{Sgd{}, {no_decay_on_vectors()}}}, Cosine{}}};
}
}  // namespace learning_rate_schedule_within_custom_recipe
#endif

}  // namespace
