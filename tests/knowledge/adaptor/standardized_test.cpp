// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/adaptor/standardized.hpp>
#include <retort/knowledge/adaptor/tempered.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/decoupled_kd.hpp>
#include <retort/knowledge/logit/dist_kd.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/schedule/linear.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace standardized_test {

using namespace retort_test;
using retort::DecoupledKd;
using retort::Reduction;
using retort::SoftTarget;
using retort::Standardized;

namespace {

template <class Term>
laws::Loss standardized(const Term& term) {
    laws::Loss loss;
    loss.name = "standardized";
    loss.value = [term](const laws::Arguments& arguments, Reduction reduction) {
        Term now = term;
        now.reduction = reduction;
        return laws::call(Standardized{now}, arguments);
    };
    loss.sample = laws::random_logits();
    loss.reductions = {Reduction::batchmean, Reduction::none, Reduction::sum};
    loss.never_negative = true;
    loss.zero_at_equality = true;
    return loss;
}

torch::Tensor soft_target(const torch::Tensor& student, const torch::Tensor& teacher,
                          const SoftTarget& options) {
    return laws::call(Standardized{options}, {.student = {student}, .teacher = {teacher}});
}

}  // namespace

TEST_CASE("standardized terms keep the laws") {
    laws::hold(standardized(SoftTarget{.temperature = 2.0}));
    laws::hold(standardized(DecoupledKd::standardized()));
}

TEST_CASE("standardize gives mean 0 and unbiased deviation 1") {
    const auto z = 3 * torch::randn({4, 6}, torch::kFloat64) + 5;
    const auto found = retort::functional::standardize(z);
    CHECK(close(found.mean(1), torch::zeros({4}, torch::kFloat64), 0, 1e-12));
    CHECK(close(found.std(1), torch::ones({4}, torch::kFloat64), 1e-6));
    CHECK_THROWS_AS(retort::functional::standardize(z.slice(1, 0, 1)), retort::ShapeError);
    CHECK_THROWS_AS(retort::functional::standardize(z, 0), retort::ConfigError);
    CHECK_THROWS_AS((Standardized{SoftTarget{.temperature = -1}}.check()), retort::ConfigError);
    CHECK_THROWS_AS((Standardized{SoftTarget{}, -1.0}.check()), retort::ConfigError);
}

TEST_CASE("standardized soft targets agree with the authors' code") {
    for (const golden::Case& reference : golden::cases("lskd_kd__lskd")) {
        const auto student = reference.leaf("logits_student");
        const auto teacher = reference.input("logits_teacher");
        const SoftTarget options{.temperature = reference.option("T")};
        const auto soft = reference.option("logit_stand") == 1
                              ? soft_target(student, teacher, options)
                              : retort::functional::soft_target(student, teacher, options);
        const auto value = reference.option("ce_weight") *
                               retort::functional::cross_entropy(student, reference.input("target")) +
                           reference.option("kd_weight") * soft;
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("standardized soft targets agree with torchdistill's") {
    for (const golden::Case& reference : golden::cases("lskd_kd__torchdistill")) {
        const auto student = reference.leaf("logits_student");
        const auto teacher = reference.input("logits_teacher");
        const double alpha = reference.option("alpha"), temperature = reference.option("T");
        const auto value =
            alpha == 0
                ? soft_target(student, teacher, SoftTarget::torch_distill_bare(temperature))
                : alpha * retort::functional::cross_entropy(student, reference.input("target")) +
                      reference.option("beta") * soft_target(student, teacher, {.temperature = temperature});
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("standardized decoupled_kd agrees with the authors' code") {
    for (const golden::Case& reference : golden::cases("lskd_dkd__lskd")) {
        const auto student = reference.leaf("logits_student");
        DecoupledKd options = DecoupledKd::standardized();
        CHECK(options.target_weight == reference.option("alpha"));
        CHECK(options.non_target_weight == reference.option("beta"));
        CHECK(options.temperature == reference.option("T"));
        const double warm_up = std::min(reference.option("epoch") / reference.option("warmup"), 1.0);
        const auto value =
            retort::functional::cross_entropy(student, reference.input("target")) +
            warm_up * laws::call(Standardized{options}, {.student = {student},
                                                         .teacher = {reference.input("logits_teacher")},
                                                         .target = reference.input("target")});
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("standardized terms work in a Knowledge, also with a scheduled temperature") {
    const retort::Knowledge knowledge{
        Standardized{SoftTarget{}}, Standardized{retort::DistKd{}}, Standardized{retort::CrossEntropy{}},
        Standardized{retort::Tempered{SoftTarget{}, retort::Linear{.initial = 4.0, .final = 2.0}}}};
    CHECK(knowledge.names()[0] == "standardized_soft_target");
    const auto z = torch::randn({4, 3}, torch::kFloat64), t = torch::randn({4, 3}, torch::kFloat64);
    const auto found = std::get<3>(knowledge.terms())(z, t, std::pair<torch::Tensor, torch::Tensor>{},
                                                      retort::Progress{.epoch = 0, .epochs = 2});
    CHECK(close(found, soft_target(z, t, {.temperature = 4.0}), 1e-12));
}

}  // namespace standardized_test
