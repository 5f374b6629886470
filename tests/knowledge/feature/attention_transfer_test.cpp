// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/feature/attention_transfer.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace attention_transfer_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

namespace {

/// The weighted sum over layers.
template <class Loss>
torch::Tensor over_layers(const golden::Case& reference, const std::vector<torch::Tensor>& student,
                          const Loss& loss) {
    const auto teacher = reference.inputs("feat_t");
    const auto weights = reference.has_option("weights") ? reference.option_list("weights")
                                                         : std::vector<double>(student.size(), 1.0);
    torch::Tensor result;
    for (std::size_t i = 0; i < student.size(); ++i) {
        const auto value = loss(student[i], teacher.at(i)) * weights.at(i);
        result = result.defined() ? result + value : value;
    }
    return result;
}

}  // namespace

TEST_CASE("attention_code agrees with RepDistiller and torchdistill") {
    for (const char* file : {"at__repdistiller", "at_code__torchdistill"}) {
        for (const golden::Case& reference : golden::cases(file)) {
            const auto student = reference.leaves("feat_s");
            const double power = reference.has_option("p") ? reference.option("p") : 2;
            const auto value = over_layers(reference, student, [&](const auto& s, const auto& t) {
                return functional::attention_code(s, t, {.power = power});
            });
            CHECK(golden::agrees(reference, value, {{"feat_s", student}}));
        }
    }
}

TEST_CASE("attention_paper agrees with torchdistill") {
    for (const golden::Case& reference : golden::cases("at_paper__torchdistill")) {
        const auto student = reference.leaves("feat_s");
        const auto value = over_layers(reference, student, [](const auto& s, const auto& t) {
            return functional::attention_paper(s, t);
        });
        CHECK(golden::agrees(reference, value, {{"feat_s", student}}));
    }
}

TEST_CASE("AttentionTransfer on several layers is a sum of terms") {
    const auto reference = golden::find("at_code__torchdistill", "medium_weighted");
    SmallOutputs student{.logits = {}, .body = {}, .stages = reference.leaves("feat_s")};
    const BigOutputs teacher{.logits = {}, .stage3 = {}, .stages = reference.inputs("feat_t")};
    const retort::Sum term{0.5 * retort::AttentionTransfer{retort::tap<&SmallOutputs::stages, 0>,
                                                           retort::tap<&BigOutputs::stages, 0>},
                           2.0 * retort::AttentionTransfer{retort::tap<&SmallOutputs::stages, 1>,
                                                           retort::tap<&BigOutputs::stages, 1>}};
    CHECK(golden::agrees(reference, term(student, teacher, torch::Tensor(), retort::Progress{}),
                         {{"feat_s", student.stages}}));
}

TEST_CASE("attention: one value per sample has the default as its mean") {
    const auto student = torch::randn({4, 3, 5, 5}, torch::kFloat64);
    const auto teacher = torch::randn({4, 6, 5, 5}, torch::kFloat64);
    const auto code = functional::attention_code(student, teacher, {.reduction = retort::Reduction::none});
    CHECK(code.sizes() == torch::IntArrayRef({4}));
    CHECK(close(code.mean(), functional::attention_code(student, teacher), 1e-12));
    auto options = retort::AttentionTransferOptions::paper();
    options.reduction = retort::Reduction::none;
    CHECK(close(functional::attention_paper(student, teacher, options).mean(),
                functional::attention_paper(student, teacher), 1e-12));
}

TEST_CASE("attention: a sample without any activation has a finite gradient") {
    for (const double power : {1.0, 2.0}) {
        auto feature = torch::randn({3, 4, 5, 5});
        feature[0].zero_();
        feature.requires_grad_();
        const auto teacher = torch::randn({3, 2, 5, 5});
        (functional::attention_code(feature, teacher, {.power = power}) +
         functional::attention_paper(feature, teacher, {.power = power}))
            .backward();
        CHECK(feature.grad().isfinite().all().item<bool>());
        CHECK(feature.grad()[0].abs().max().item<float>() == 0);
        CHECK(feature.grad()[1].abs().max().item<float>() > 0);
    }
}

TEST_CASE("attention: errors name the term, the taps and the shapes") {
    const retort::AttentionTransfer term{body, stage3};
    const auto found = message<retort::ShapeError>(
        [&] { term(small(torch::randn({4, 3, 5})), big(torch::randn({4, 3, 6})), torch::Tensor()); });
    CHECK(found.find("attention_transfer(body->stage3)") != std::string::npos);
    CHECK(found.find("[4, 3, 5]") != std::string::npos);
    CHECK(found.find("[4, 3, 6]") != std::string::npos);
    CHECK_THROWS_AS(functional::attention_code(torch::randn({2, 3, 4, 4}), torch::randn({3, 3, 4, 4})),
                    retort::ShapeError);
    CHECK_THROWS_AS(
        functional::attention_code(torch::randn({2, 3, 4, 4}), torch::randn({2, 3, 4, 4}), {.power = 0}),
        retort::ConfigError);
    CHECK_THROWS_AS(retort::AttentionTransfer(body, stage3, {.power = -1}).check(), retort::ConfigError);
}

}  // namespace attention_transfer_test
