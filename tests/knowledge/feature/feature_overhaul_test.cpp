// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/feature_overhaul.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace feature_overhaul_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

namespace {

torch::nn::BatchNorm2d batch_norm(const torch::Tensor& weight, const torch::Tensor& bias) {
    torch::nn::BatchNorm2d result(weight.size(0));
    result->to(weight.scalar_type());
    const torch::NoGradGuard guard;
    result->weight.copy_(weight);
    result->bias.copy_(bias);
    return result;
}

}  // namespace

TEST_CASE("FeatureOverhaul agrees with mdistiller, with its connectors, margins and layer weights") {
    for (const golden::Case& reference : golden::cases("ofd__mdistiller")) {
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        golden::Tensors leaves{{"feat_s", student}};
        torch::Tensor value;
        for (std::size_t i = 0; i < student.size(); ++i) {
            const std::string part = "connectors." + std::to_string(i);
            const auto norm = batch_norm(reference.inputs("bn_weight")[i], reference.inputs("bn_bias")[i]);
            const std::int64_t kernel = reference.option("kernel_size") == 3 ? 3 : 1;
            retort::FeatureOverhaul term{
                body, stage3, norm,
                retort::Convolution{
                    .kernel = kernel, .padding = (kernel - 1) / 2, .bias = false, .batch_norm = true}};
            const auto batch = prepared(term, small(student[i]), big(teacher[i]));
            // The reference computes its margins in float32.
            CHECK(close(term.module()->named_buffers()["margins"],
                        reference.components("margins")[i].to(torch::kFloat64), 1e-6));
            const golden::Renames renames{{"connector.convolution", part + ".0"},
                                          {"connector.norm", part + ".1"}};
            leaves.merge(golden::load(*term.module(), reference, renames));
            const auto layer = term(small(student[i]), big(teacher[i]), batch) *
                               std::pow(0.5, static_cast<double>(student.size() - i - 1));
            value = value.defined() ? value + layer : layer;
        }
        CHECK(golden::agrees(reference, value, leaves, 1e-6));
    }
}

TEST_CASE("feature_overhaul agrees with mmrazor") {
    for (const golden::Case& reference : golden::cases("ofd__mmrazor")) {
        const auto student = reference.leaf("feat_s");
        CHECK(golden::agrees(reference,
                             functional::feature_overhaul(student, reference.input("feat_t"),
                                                          retort::FeatureOverhaulOptions::mmrazor()),
                             {{"feat_s", {student}}}));
    }
}

TEST_CASE("overhaul_margins is the mean of the negative values") {
    const auto weight = torch::tensor({1.0, 2.0, -0.5, 1.0, 0.0, 0.0}, torch::kFloat64);
    const auto bias = torch::tensor({0.0, 1.0, 0.2, 9.0, -2.0, 2.0}, torch::kFloat64);
    const auto margins = functional::overhaul_margins(weight, bias);
    torch::manual_seed(7);
    for (std::int64_t c = 0; c < 3; ++c) {
        const auto values = torch::randn({2000000}, torch::kFloat64) * weight[c] + bias[c];
        CHECK(close(margins[c], values.masked_select(values < 0).mean(), 5e-3));
    }
    CHECK(margins[3].item<double>() == -3);  // rarely negative
    CHECK(margins[4].item<double>() == -2);  // no variance
    CHECK(margins[5].item<double>() == 0);
}

TEST_CASE("FeatureOverhaul's margins are not parameters, and move with the module") {
    const auto norm = batch_norm(torch::ones({5}), torch::zeros({5}));
    retort::FeatureOverhaul term{body, stage3, norm};
    const auto batch = prepared(term, small(torch::randn({2, 3, 4, 4}, torch::kFloat64)),
                                big(torch::randn({2, 5, 4, 4}, torch::kFloat64)));
    CHECK(term.module()->named_buffers()["margins"].scalar_type() == torch::kFloat64);
    for (const auto& parameter : term.module()->named_parameters()) {
        CHECK(parameter.key() != "margins");
        // No bias before the batch norm.
        CHECK(parameter.key() != "connector.convolution.bias");
    }
    CHECK_THROWS_AS(retort::FeatureOverhaul(
                        body, stage3, torch::nn::BatchNorm2d(torch::nn::BatchNorm2dOptions(4).affine(false))),
                    retort::ConfigError);
    // The teacher's own parameters get no gradient.
    term(small(torch::randn({2, 3, 4, 4}, torch::kFloat64)), big(torch::randn({2, 5, 4, 4}, torch::kFloat64)),
         batch)
        .backward();
    CHECK_FALSE(norm->weight.grad().defined());
}

}  // namespace feature_overhaul_test
