// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/review_kd.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace review_kd_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

namespace {

/// All stages, however many there are.
struct Stages {
    template <class Outputs>
    std::vector<torch::Tensor> operator()(const Outputs& outputs) const {
        return outputs.stages;
    }
    static std::string name() { return "stages"; }
};

}  // namespace

TEST_CASE("ReviewKd agrees with mdistiller") {
    for (const golden::Case& reference : golden::cases("reviewkd__mdistiller")) {
        if (reference.has_input("fused_s")) {
            const auto student = reference.leaves("fused_s");
            const auto teacher = reference.inputs("feat_t");
            auto value = functional::hierarchical_context(student[0], teacher[0]);
            for (std::size_t i = 1; i < student.size(); ++i)
                value = value + functional::hierarchical_context(student[i], teacher[i]);
            CHECK(golden::agrees(reference, value, {{"fused_s", student}}));
            continue;
        }
        const SmallOutputs student{.logits = {}, .body = {}, .stages = reference.leaves("feat_s")};
        const BigOutputs teacher{.logits = {}, .stage3 = {}, .stages = reference.inputs("feat_t")};
        retort::ReviewKd term{Stages{}, Stages{}};
        const auto batch = prepared(term, student, teacher);
        golden::Renames renames;
        for (std::size_t i = 0; i < student.stages.size(); ++i) {
            const std::string ours = "fusion" + std::to_string(i), theirs = "abfs." + std::to_string(i);
            renames.emplace_back(ours + ".enter.convolution", theirs + ".conv1.0");
            renames.emplace_back(ours + ".enter.norm", theirs + ".conv1.1");
            renames.emplace_back(ours + ".leave.convolution", theirs + ".conv2.0");
            renames.emplace_back(ours + ".leave.norm", theirs + ".conv2.1");
            renames.emplace_back(ours + ".attention", theirs + ".att_conv.0");
        }
        auto leaves = golden::load(*term.module(), reference, renames);
        leaves["feat_s"] = student.stages;
        const double warm_up = std::min(reference.option("epoch") / reference.option("warmup"), 1.0);
        CHECK(golden::agrees(reference, reference.option("weight") * warm_up * term(student, teacher, batch),
                             leaves));
        CHECK(golden::statistics_agree(*term.module(), reference, renames));
    }
}

TEST_CASE("ReviewKd takes named taps, and a pooled feature without spatial dimensions") {
    retort::ReviewKd term{retort::Taps{retort::tap<&SmallOutputs::body>, retort::tap<&SmallOutputs::logits>},
                          retort::Taps{retort::tap<&BigOutputs::stage3>, retort::tap<&BigOutputs::logits>}};
    const auto student = small(torch::randn({2, 3, 4, 4}), torch::randn({2, 5}));
    const auto teacher = big(torch::randn({2, 6, 4, 4}), torch::randn({2, 7}));
    const auto batch = prepared(term, student, teacher);
    CHECK(term(student, teacher, batch).dim() == 0);
    CHECK(term.name().find("body") != std::string::npos);
    const auto found = message<retort::ShapeError>(
        [&] { term(small(torch::randn({2, 3, 4}), student.logits), teacher, batch); });
    CHECK(found.find("[2, 3, 4]") != std::string::npos);
}

TEST_CASE("ReviewKd requires equally many features of both networks, and every sample has a loss") {
    SmallOutputs student{
        .logits = {}, .body = {}, .stages = {torch::randn({3, 2, 8, 8}), torch::randn({3, 4, 4, 4})}};
    BigOutputs teacher{.logits = {}, .stage3 = {}, .stages = {torch::randn({3, 5, 8, 8})}};
    retort::ReviewKd one{Stages{}, Stages{}};
    CHECK_THROWS_AS(prepared(one, student, teacher), retort::ShapeError);
    teacher.stages.push_back(torch::randn({3, 6, 4, 4}));
    retort::ReviewKd each{Stages{}, Stages{}, {.context = {.reduction = retort::Reduction::none}}};
    const auto batch = prepared(each, student, teacher);
    CHECK(each(student, teacher, batch).sizes() == torch::IntArrayRef({3}));
    const auto s = student.stages[0].to(torch::kFloat64), t = torch::randn_like(s);
    CHECK(close(functional::hierarchical_context(s, t, {.reduction = retort::Reduction::none}).mean(),
                functional::hierarchical_context(s, t), 1e-12));
    CHECK_THROWS_AS(functional::hierarchical_context(s, t, {.levels = {0}}), retort::ConfigError);
}

}  // namespace review_kd_test
