// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/teacher_free_regularization.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace teacher_free_regularization_test {

using namespace retort_test;
using retort::Reduction;
using retort::TeacherFreeRegularization;
using retort::functional::cross_entropy;

TEST_CASE("teacher_free_regularization keeps the laws") {
    for (const TeacherFreeRegularization& term :
         {TeacherFreeRegularization{},
          TeacherFreeRegularization{.temperature = 0.01, .correct_probability = 0.5}}) {
        auto loss =
            laws::of_term(term, {Reduction::mean, Reduction::none, Reduction::batchmean, Reduction::sum});
        loss.sample = laws::without_teacher(laws::random_logits());
        loss.elements = 5;
        loss.never_negative = true;
        laws::hold(loss);
    }
}

TEST_CASE(
    "teacher_free_regularization agrees with Teacher-free KD's, and label smoothing is cross_entropy's") {
    for (const golden::Case& reference : golden::cases("tfkd_reg__tfkd")) {
        const auto student = reference.leaf("logits_student");
        const auto target = reference.input("target");
        const double alpha = reference.option("alpha");
        const auto value = (1 - alpha) * cross_entropy(student, target) +
                           alpha * reference.option("multiplier") *
                               retort::functional::teacher_free_regularization(
                                   student, target,
                                   {.temperature = reference.option("T"),
                                    .correct_probability = reference.option("correct_prob")});
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
        const double classes = static_cast<double>(student.size(1));
        CHECK(golden::deviation(
                  cross_entropy(student, target, {.label_smoothing = 0.1 * classes / (classes - 1)}),
                  reference.component("label_smoothing_0.1")) <= 1e-8);
    }
}

TEST_CASE("teacher_free_regularization is 0 for a student that is the virtual teacher") {
    const auto target = torch::tensor({2, 0}, torch::kLong);
    auto virtual_teacher =
        torch::full({2, 4}, 0.1, torch::kFloat64).scatter(1, target.unsqueeze(1), 0.7) / 0.25;
    const TeacherFreeRegularization options{.temperature = 0.25, .correct_probability = 0.7};
    virtual_teacher.requires_grad_();
    const auto value = retort::functional::teacher_free_regularization(virtual_teacher, target, options);
    CHECK(std::abs(value.item<double>()) <= 1e-14);
    value.backward();
    CHECK(close(virtual_teacher.grad(), torch::zeros({2, 4}, torch::kFloat64), 0, 1e-14));
}

TEST_CASE("teacher_free_regularization refuses invalid options") {
    CHECK_THROWS_AS((TeacherFreeRegularization{.temperature = 0}.check()), retort::ConfigError);
    CHECK_THROWS_AS((TeacherFreeRegularization{.correct_probability = 1}.check()), retort::ConfigError);
    CHECK_THROWS_AS(retort::functional::teacher_free_regularization(torch::randn({2, 1}),
                                                                    torch::zeros({2}, torch::kLong)),
                    retort::ShapeError);
}

}  // namespace teacher_free_regularization_test
