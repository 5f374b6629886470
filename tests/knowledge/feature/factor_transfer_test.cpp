// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/factor_transfer.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace factor_transfer_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;
using Options = retort::FactorTransferOptions;

namespace {

golden::Renames layers(const std::string& ours, const std::string& theirs) {
    golden::Renames result;
    for (int i = 0; i < 3; ++i) {
        result.emplace_back(ours + "convolution" + std::to_string(i), theirs + std::to_string(3 * i));
        result.emplace_back(ours + "norm" + std::to_string(i), theirs + std::to_string(3 * i + 1));
    }
    return result;
}

}  // namespace

TEST_CASE("FactorTransfer in RepDistiller's form agrees with it, and so does its first stage") {
    for (const golden::Case& reference : golden::cases("ft__repdistiller")) {
        auto options = Options::rep_distiller();
        options.power = reference.option("p1");
        options.norm = reference.option("p2");
        if (reference.has_input("factor_s")) {
            const auto student = reference.leaf("factor_s");
            CHECK(golden::agrees(reference,
                                 functional::factor_transfer(student, reference.input("factor_t"), options),
                                 {{"factor_s", {student}}}));
            continue;
        }
        const auto student = small(reference.leaf("feat_s"));
        const auto teacher = big(reference.input("feat_t"));
        retort::Paraphraser paraphraser{teacher.stage3.size(1), reference.option("k")};
        paraphraser->to(torch::kFloat64);
        auto renames = layers("encoder.", "paraphraser.encoder.");
        for (const auto& each : layers("decoder.", "paraphraser.decoder.")) renames.push_back(each);
        golden::load(*paraphraser, reference, renames);

        const retort::FactorReconstruction first{stage3, paraphraser};
        const auto reconstruction = first(student, teacher, torch::Tensor());
        CHECK(golden::deviation(reconstruction, reference.component("init_stage_reconstruction_mse")) <
              1e-12);
        reconstruction.backward();
        for (const auto& parameter : first.module()->parameters())
            CHECK(parameter.grad().abs().sum().item<double>() > 0);
        CHECK_FALSE(student.body.grad().defined());
        paraphraser->zero_grad();

        retort::FactorTransfer term{body, stage3, paraphraser, options};
        const auto batch = prepared(term, student, teacher);
        const auto of_translator = layers("", "translator.encoder.");
        auto leaves = golden::load(*term.module(), reference, of_translator);
        leaves["feat_s"] = {student.body};
        const auto value = term(student, teacher, batch);
        CHECK(golden::agrees(reference, value, leaves));
        CHECK(golden::statistics_agree(*term.module(), reference, of_translator));
        value.backward();
        for (const auto& parameter : paraphraser->parameters())
            CHECK((!parameter.grad().defined() || parameter.grad().abs().max().item<double>() == 0));
    }
}

TEST_CASE("factor_transfer in the paper's form agrees with torchdistill") {
    for (const golden::Case& reference : golden::cases("ft__torchdistill")) {
        auto options = Options::paper();
        options.norm = reference.option("p");
        if (reference.word("reduction") == "sum") options.reduction = retort::Reduction::sum;
        const auto student = reference.leaf("factor_s");
        const auto value = functional::factor_transfer(student, reference.input("factor_t"), options);
        if (reference.name() == "zero_factor") {
            // The reference divides a factor of zeros by its norm.
            CHECK(std::isnan(reference.value().item<double>()));
            CHECK(value.isfinite().item<bool>());
            const auto gradient = torch::autograd::grad({value}, {student})[0];
            CHECK(gradient.isfinite().all().item<bool>());
            CHECK(gradient.abs().max().item<double>() > 0);
        } else {
            CHECK(golden::agrees(reference, value, {{"factor_s", {student}}}));
        }
    }
}

TEST_CASE("factor transfer: the stages refuse mismatches") {
    CHECK_THROWS_AS(functional::factor_transfer(torch::randn({2, 3, 4, 4}), torch::randn({2, 4, 4, 4})),
                    retort::ShapeError);
    CHECK_THROWS_AS(
        functional::factor_transfer(torch::randn({2, 3, 4, 4}), torch::randn({2, 3, 4, 4}), {.norm = 0.5}),
        retort::ConfigError);
    CHECK_THROWS_AS(retort::Paraphraser(4, 0.1), retort::ConfigError);
    CHECK_THROWS_AS(retort::FactorTransfer(body, stage3, nullptr), retort::ConfigError);
    retort::FactorTransfer term{body, stage3, retort::Paraphraser(8)};
    const auto batch = prepared(term, small(torch::randn({2, 3, 4, 4})), big(torch::randn({2, 8, 4, 4})));
    const auto found = message<retort::ShapeError>(
        [&] { term(small(torch::randn({2, 5, 4, 4})), big(torch::randn({2, 8, 4, 4})), batch); });
    CHECK(found.find("factor_transfer(body->stage3)") != std::string::npos);
}

}  // namespace factor_transfer_test
