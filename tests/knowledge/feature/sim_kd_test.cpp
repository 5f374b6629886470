// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/sim_kd.hpp>
#include <retort/knowledge/feature/srrl.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace sim_kd_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

namespace {

torch::nn::Linear classifier(const golden::Case& reference, const std::string& name) {
    const auto weight = reference.parameter(name + ".weight");
    torch::nn::Linear result(weight.size(1), weight.size(0));
    result->to(torch::kFloat64);
    golden::load(*result, reference, {{"weight", name + ".weight"}, {"bias", name + ".bias"}});
    return result;
}

}  // namespace

TEST_CASE("SimKd agrees with the authors' code, in its loss and in its prediction") {
    golden::Renames renames;
    int position = 0;
    for (const char* layer : {"projector.reduce", "projector.spatial", "projector.expand"}) {
        renames.emplace_back(std::string(layer) + ".convolution", "transfer." + std::to_string(position));
        renames.emplace_back(std::string(layer) + ".norm", "transfer." + std::to_string(position + 1));
        position += 3;
    }
    for (const golden::Case& reference : golden::cases("simkd__simkd")) {
        const auto student = small(reference.leaf("feat_s"));
        const auto teacher = big(reference.input("feat_t"));
        retort::SimKd term{
            body, stage3,
            retort::Bottleneck{.factor = static_cast<std::int64_t>(reference.option("factor"))}};
        const auto batch = prepared(term, student, teacher);
        auto leaves = golden::load(*term.module(), reference, renames);
        leaves["feat_s"] = {student.body};
        CHECK(golden::agrees(reference, term(student, teacher, batch), leaves));
        CHECK(golden::statistics_agree(*term.module(), reference, renames));

        golden::load(*term.module(), reference, renames);  // the earlier statistics
        auto head = classifier(reference, "teacher_classifier");
        const auto logits = term.predict(student, head);
        CHECK(golden::deviation(logits, reference.component("logits")) < 1e-10);
        logits.sum().backward();
        CHECK(student.body.grad().defined());
        CHECK_FALSE(head->weight.grad().defined());
    }
}

TEST_CASE("Srrl agrees with cls_KD") {
    const golden::Renames renames{{"convolution", "Connectors.0"}, {"norm", "Connectors.1"}};
    for (const golden::Case& reference : golden::cases("srrl__cls_kd")) {
        retort::SrrlOptions options{.feature_weight = reference.option("alpha"),
                                    .logit_weight = reference.option("beta")};
        if (reference.has_input("logits_st")) {
            const auto student = reference.leaf("feat_s"), logits = reference.leaf("logits_st");
            CHECK(golden::agrees(reference,
                                 functional::srrl(student, reference.input("feat_t"), logits,
                                                  reference.input("logits_t"), options),
                                 {{"feat_s", {student}}, {"logits_st", {logits}}}));
            continue;
        }
        const auto student = small(reference.leaf("feat_s"));
        const auto teacher = big(reference.input("feat_t"), reference.component("teacher_logits"));
        auto head = classifier(reference, "teacher_head");
        retort::Srrl term{body, stage3, head,
                          retort::Conv1x1{.bias = false, .batch_norm = true, .relu = true}, options};
        const auto batch = prepared(term, student, teacher);
        auto leaves = golden::load(*term.module(), reference, renames);
        leaves["feat_s"] = {student.body};
        const auto value = term(student, teacher, batch);
        CHECK(golden::agrees(reference, value, leaves));
        CHECK(golden::statistics_agree(*term.module(), reference, renames));
        value.backward();
        CHECK_FALSE(head->weight.grad().defined());  // the teacher's
        CHECK(head->weight.requires_grad());
    }
}

TEST_CASE("Srrl agrees with SimKD's version on pooled features") {
    const golden::Renames renames{{"convolution", "transfer.0"}, {"norm", "transfer.1"}};
    for (const golden::Case& reference : golden::cases("srrl__simkd")) {
        const auto student = small(reference.leaf("feat_s"));
        const auto teacher = big(reference.input("feat_t"), reference.input("logits_t"));
        retort::Srrl term{body, stage3, classifier(reference, "teacher_classifier"),
                          retort::Conv1x1{.bias = false, .batch_norm = true, .relu = true},
                          retort::SrrlOptions::sim_kd()};
        const auto batch = prepared(term, student, teacher);
        auto leaves = golden::load(*term.module(), reference, renames);
        leaves["feat_s"] = {student.body};
        CHECK(golden::agrees(reference, term(student, teacher, batch), leaves));
        CHECK(golden::statistics_agree(*term.module(), reference, renames));
    }
}

TEST_CASE("Srrl and SimKd refuse mismatches") {
    CHECK_THROWS_AS(retort::Srrl(body, stage3, torch::nn::Linear(nullptr)), retort::ConfigError);
    // A module other than a linear layer must be frozen by its owner.
    CHECK_THROWS_AS(
        retort::Srrl(body, stage3, torch::nn::Sequential(torch::nn::Linear(5, 3), torch::nn::ReLU())),
        retort::ConfigError);
    retort::Srrl term{body, stage3, torch::nn::Linear(7, 3)};
    const auto student = small(torch::randn({2, 4, 3, 3}));
    const auto teacher = big(torch::randn({2, 5, 3, 3}), torch::randn({2, 3}));
    const auto batch = prepared(term, student, teacher);
    const auto found = message<retort::ShapeError>([&] { term(student, teacher, batch); });
    CHECK(found.find("srrl(body->stage3)") != std::string::npos);
    CHECK(found.find("[batch, 7]") != std::string::npos);
    CHECK_THROWS_AS(functional::srrl(student.body, torch::randn({2, 4, 3, 3}), torch::randn({2, 3}),
                                     torch::randn({2, 4})),
                    retort::ShapeError);
    retort::SimKd simkd{body, stage3};
    CHECK_THROWS_AS(prepared(simkd, small(torch::randn({2, 4})), big(torch::randn({2, 5}))),
                    retort::ShapeError);
    CHECK_THROWS_AS(simkd.predict(student, torch::nn::Linear(5, 3)), retort::ConfigError);  // not built yet
}

TEST_CASE("srrl: one value per sample") {
    const auto s = torch::randn({3, 4, 2, 2}), t = torch::randn({3, 4, 2, 2});
    const auto a = torch::randn({3, 5}), b = torch::randn({3, 5});
    const auto each = functional::srrl(s, t, a, b, {.reduction = retort::Reduction::none});
    CHECK(each.sizes() == torch::IntArrayRef({3}));
    CHECK(close(each.mean(), functional::srrl(s, t, a, b)));
}

}  // namespace sim_kd_test
