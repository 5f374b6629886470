// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/class_relation.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/multi_level_kd.hpp>
#include <retort/knowledge/logit/sample_relation.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace multi_level_kd_test {

using namespace retort_test;
using retort::ClassRelation;
using retort::MultiLevelKd;
using retort::Reduction;
using retort::SampleRelation;
namespace functional = retort::functional;

TEST_CASE("class_relation keeps the laws") {
    auto loss = laws::of_term(ClassRelation{.temperature = 2.0}, {Reduction::batchmean});
    loss.never_negative = true;
    loss.zero_at_equality = true;
    laws::hold(loss);
    CHECK_THROWS_AS((ClassRelation{.temperature = 0}.check()), retort::ConfigError);
}

TEST_CASE("sample_relation keeps the laws") {
    auto loss = laws::of_term(SampleRelation{.temperature = 2.0},
                              {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
    loss.elements = 4;  // partners in a batch of 4
    loss.never_negative = true;
    loss.zero_at_equality = true;
    laws::hold(loss);
    CHECK_THROWS_AS((SampleRelation{.temperature = 0}.check()), retort::ConfigError);
}

TEST_CASE("multi_level_kd keeps the laws") {
    for (const MultiLevelKd& term :
         {MultiLevelKd::as_described(), MultiLevelKd::as_released(), MultiLevelKd::standardized_as_released(),
          MultiLevelKd{.standardize = true}}) {
        auto loss = laws::of_term(term, {Reduction::batchmean});
        loss.sample = [](std::int64_t batch) {
            laws::Arguments result = laws::random_logits()(2 * batch);
            result.target = torch::Tensor();
            return result;
        };
        loss.any_sample_order = false;  // the first half is the weak view
        loss.never_negative = true;
        loss.zero_at_equality = true;
        laws::hold(loss);
    }
}

TEST_CASE("multi_level_kd as released agrees with the released code, plain and with standardized logits") {
    for (const char* file : {"mlkd__mlkd", "mlkd__lskd"}) {
        for (const golden::Case& reference : golden::cases(file)) {
            MultiLevelKd options = MultiLevelKd::as_released();
            options.temperatures[0] = reference.option("T");
            options.standardize = reference.has_option("logit_stand") && reference.option("logit_stand") == 1;
            const auto weak = reference.leaf("logits_student_weak"),
                       strong = reference.leaf("logits_student_strong");
            const auto target = reference.input("target");
            const auto value =
                reference.option("ce_weight") *
                    (functional::cross_entropy(weak, target) + functional::cross_entropy(strong, target)) +
                reference.option("kd_weight") *
                    functional::multi_level_kd(weak, strong, reference.input("logits_teacher_weak"),
                                               reference.input("logits_teacher_strong"), options);
            CHECK(golden::agrees(reference, value,
                                 {{"logits_student_weak", {weak}}, {"logits_student_strong", {strong}}}));
        }
    }
    CHECK(MultiLevelKd::standardized_as_released().temperatures[0] == 2.0);
}

TEST_CASE("multi_level_kd as described is the sum of its parts, masked by sample and by class") {
    torch::manual_seed(5);
    const auto draw = [] { return 2 * torch::randn({5, 4}, torch::kFloat64); };
    const auto weak = draw(), strong = draw(), teacher_weak = draw(), teacher_strong = draw();
    const auto sure = teacher_weak.softmax(1);
    const auto most = std::get<0>(sure.max(1)), mass = sure.sum(0);
    const auto samples = most.le(std::get<0>(most.sort())[2]).to(torch::kFloat64);
    const auto middle = std::get<0>(mass.sort());
    const auto classes = mass.le((middle[1] + middle[2]) / 2).to(torch::kFloat64);
    torch::Tensor expected = torch::zeros({}, torch::kFloat64);
    for (const double t : {4.0, 3.0, 5.0, 2.0, 6.0}) {
        const auto divergences =
            functional::soft_target(weak, teacher_weak, {.temperature = t, .reduction = Reduction::none});
        expected = expected + (samples * divergences).mean() +
                   functional::soft_target(strong, teacher_strong, {.temperature = t});
        const auto s = (weak / t).softmax(1), g = (teacher_weak / t).softmax(1);
        expected = expected + (classes.unsqueeze(1) * (s.t().mm(s) - g.t().mm(g)).square()).sum() / 4 +
                   functional::class_relation(strong, teacher_strong, {.temperature = t});
        expected = expected + (samples.unsqueeze(1) * (s.mm(s.t()) - g.mm(g.t())).square()).sum() / 5 +
                   functional::sample_relation(strong, teacher_strong, {.temperature = t});
    }
    CHECK(close(functional::multi_level_kd(weak, strong, teacher_weak, teacher_strong), expected, 1e-12));
    const laws::Arguments both{.student = {torch::cat({weak, strong})},
                               .teacher = {torch::cat({teacher_weak, teacher_strong})}};
    CHECK(close(laws::call(MultiLevelKd{}, both), expected, 1e-12));
}

TEST_CASE("multi_level_kd refuses invalid options") {
    MultiLevelKd options;
    options.temperatures[3] = 0;
    CHECK_THROWS_AS(options.check(), retort::ConfigError);
    CHECK_THROWS_AS((MultiLevelKd{.class_weight = -1}.check()), retort::ConfigError);
    const auto z = torch::randn({3, 4});
    CHECK_THROWS_AS(laws::call(MultiLevelKd{}, {.student = {z}, .teacher = {z}}), retort::ShapeError);
    CHECK_THROWS_AS(functional::multi_level_kd(z, z.slice(0, 0, 2), z, z.slice(0, 0, 2)), retort::ShapeError);
}

}  // namespace multi_level_kd_test
