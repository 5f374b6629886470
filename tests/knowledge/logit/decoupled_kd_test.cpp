// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/decoupled_kd.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace decoupled_kd_test {

using namespace retort_test;
using retort::DecoupledKd;
using retort::Reduction;
using retort::functional::decoupled_kd;

namespace {

/// The formula as written, with the target's column removed: correct as long as nothing saturates.
torch::Tensor by_hand(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& target,
                      const DecoupledKd& options) {
    torch::Tensor sum = torch::zeros({}, torch::kFloat64);
    for (std::int64_t i = 0; i < student.size(0); ++i) {
        const auto y = target[i].item<std::int64_t>();
        const auto others = [&](const torch::Tensor& row) {
            return torch::cat({row.slice(0, 0, y), row.slice(0, y + 1)}) / options.temperature;
        };
        const auto kl = [](const torch::Tensor& t, const torch::Tensor& s) {
            const auto log_t = t.log_softmax(0);
            return (log_t.exp() * (log_t - s.log_softmax(0))).sum();
        };
        const auto binary = [&](const torch::Tensor& row) {
            return torch::stack({row[y] / options.temperature, others(row).logsumexp(0)});
        };
        sum = sum + options.target_weight * kl(binary(teacher[i]), binary(student[i])) +
              options.non_target_weight * kl(others(teacher[i]), others(student[i]));
    }
    return sum * (options.temperature * options.temperature) / static_cast<double>(student.size(0));
}

}  // namespace

TEST_CASE("decoupled_kd keeps the laws") {
    for (const DecoupledKd& term : {DecoupledKd::mdistiller(), DecoupledKd::resnet34_resnet18(),
                                    DecoupledKd{.target_weight = 0.0, .non_target_weight = 1.0},
                                    DecoupledKd{.non_target_weight = 0.0, .temperature = 2.0}}) {
        auto loss =
            laws::of_term(term, {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
        loss.elements = 1;
        loss.never_negative = true;
        loss.zero_at_equality = true;
        laws::hold(loss);
    }
}

TEST_CASE("decoupled_kd agrees with mdistiller's DKD, except where its mask or logarithm fails") {
    for (const golden::Case& reference : golden::cases("dkd__mdistiller")) {
        const auto student = reference.leaf("logits_student");
        const auto teacher = reference.input("logits_teacher"), target = reference.input("target");
        const DecoupledKd options{.target_weight = reference.option("alpha"),
                                  .non_target_weight = reference.option("beta"),
                                  .temperature = reference.option("T")};
        auto value = decoupled_kd(student, teacher, target, options);
        if (reference.name() == "mask_fails_T1" || reference.name() == "student_saturated_T1") {
            // There the mask of -1000 does not remove the target, and log(sum of p) is infinite.
            CHECK(close(value, by_hand(student, teacher, target, options), 1e-10));
            CHECK_FALSE(golden::deviation(value, reference.value()) <= 0.1);
            const auto gradient = torch::autograd::grad({value}, {student})[0];
            CHECK(torch::isfinite(gradient).all().item<bool>());
            continue;
        }
        if (reference.has_option(
                "epoch")) {  // the warm-up belongs to a schedule, and the cross-entropy is another term
            const double warm_up = std::min(reference.option("epoch") / reference.option("warmup"), 1.0);
            value = reference.option("ce_weight") * retort::functional::cross_entropy(student, target) +
                    warm_up * value;
        }
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("decoupled_kd agrees with MMRazor's, whose mean is a sum") {
    for (const golden::Case& reference : golden::cases("dkd__mmrazor")) {
        const auto student = reference.leaf("logits_student");
        DecoupledKd options = DecoupledKd::mm_razor();
        options.target_weight = reference.option("alpha");
        options.non_target_weight = reference.option("beta");
        options.temperature = reference.option("tau");
        if (reference.word("reduction") == "batchmean") options.reduction = Reduction::batchmean;
        const auto value =
            decoupled_kd(student, reference.input("logits_teacher"), reference.input("target"), options);
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("decoupled_kd weighted by the teacher's uncertainty equals soft targets") {
    // KL = KL of the binary part + (1 - t_y) KL of the others: one sample at a time.
    torch::manual_seed(3);
    const auto student = torch::randn({1, 6}, torch::kFloat64),
               teacher = torch::randn({1, 6}, torch::kFloat64);
    const auto target = torch::tensor({2}, torch::kLong);
    const double doubt = 1 - (teacher / 2).softmax(1)[0][2].item<double>();
    CHECK(close(decoupled_kd(student, teacher, target, {.non_target_weight = doubt, .temperature = 2.0}),
                retort::functional::soft_target(student, teacher, {.temperature = 2.0}), 1e-12));
}

TEST_CASE("decoupled_kd takes probabilities as targets, and needs two classes and a beta") {
    torch::manual_seed(4);
    const auto student = torch::randn({3, 4}), teacher = torch::randn({3, 4});
    const auto target = torch::tensor({1, 3, 0}, torch::kLong);
    const auto options = DecoupledKd::mdistiller();
    const auto mixed = 0.7 * torch::nn::functional::one_hot(target, 4).to(torch::kFloat32) + 0.075;
    CHECK(same(decoupled_kd(student, teacher, mixed, options),
               decoupled_kd(student, teacher, target, options)));
    CHECK_THROWS_AS(DecoupledKd{}.check(), retort::ConfigError);
    CHECK_THROWS_AS((DecoupledKd{.non_target_weight = -1}.check()), retort::ConfigError);
    CHECK_THROWS_AS((DecoupledKd{.non_target_weight = 1, .temperature = 0}.check()), retort::ConfigError);
    CHECK_THROWS_AS(decoupled_kd(student, teacher, target.to(torch::kInt), options), retort::ShapeError);
    CHECK_THROWS_AS(decoupled_kd(student.slice(1, 0, 1), teacher.slice(1, 0, 1), target, options),
                    retort::ShapeError);
}

}  // namespace decoupled_kd_test
