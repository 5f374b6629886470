// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/flow/information_flow.hpp>

#include <golden.hpp>

namespace information_flow_test {

using namespace retort_test;
using retort::InformationFlowOptions;
using retort::Kernel;
using retort::functional::information_flow;

namespace {

Kernel kernel_of(const golden::Case& reference, const std::string& whose) {
    const std::map<std::string, Kernel::Kind> kinds{
        {"combined", Kernel::Kind::cosine},           {"cosine", Kernel::Kind::cosine},
        {"student_t", Kernel::Kind::student_t},       {"rbf", Kernel::Kind::rbf},
        {"adaptive_rbf", Kernel::Kind::adaptive_rbf}, {"cauchy", Kernel::Kind::cauchy}};
    Kernel result{.kind = kinds.at(reference.word(whose))};
    if (reference.has_option(whose + "_d")) result.degree = reference.option(whose + "_d");
    if (reference.has_option(whose + "_sigma")) result.sigma = reference.option(whose + "_sigma");
    return result;
}

InformationFlowOptions options_of(const golden::Case& reference) {
    InformationFlowOptions options = InformationFlowOptions::released();
    using retort::NeighborDivergence;
    const std::map<std::string, NeighborDivergence> divergences{
        {"combined", NeighborDivergence::jeffreys},
        {"jeffreys", NeighborDivergence::jeffreys},
        {"kl", NeighborDivergence::kl},
        {"abs", NeighborDivergence::abs},
        {"squared", NeighborDivergence::squared},
        {"exponential", NeighborDivergence::exponential},
        {"kagan", NeighborDivergence::kagan}};
    options.combined = reference.word("student") == "combined";
    options.kernel = kernel_of(reference, "student");
    options.teacher_kernel = kernel_of(reference, "teacher");
    // The reference's default is kl.
    options.divergence = divergences.at(reference.has_option("loss") ? reference.word("loss") : "kl");
    return options;
}

}  // namespace

TEST_CASE("information_flow agrees with the authors' code") {
    for (const golden::Case& reference : golden::cases("ifm__pkth")) {
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        auto value = torch::zeros({}, torch::kFloat64);
        if (reference.has_option("layers")) {
            // The weights are in the order of the option `layers`.
            const auto layers = reference.option_list("layers");
            const auto weights = reference.option_list("layer_weights");
            for (std::size_t i = 0; i < layers.size(); ++i) {
                const auto layer = static_cast<std::size_t>(layers[i]);
                value = value + weights[i] * information_flow(student.at(layer), teacher.at(layer));
            }
        } else {
            value = information_flow(student.at(0), teacher.at(0), options_of(reference));
        }
        if (reference.name() == "zero_student_row") {
            // The reference's gradient of the row of zeros is NaN.
            CHECK(golden::agrees(reference, value, {}, 1e-8, {"feat_s"}));
            const auto gradient = torch::autograd::grad({value}, student)[0];
            CHECK(torch::isfinite(gradient).all().item<bool>());
            const auto expected = reference.gradients().at("feat_s")[0];
            const auto known = torch::isfinite(expected);
            CHECK(known.sum().item<std::int64_t>() == expected.numel() - expected.size(1));
            CHECK(close(gradient.masked_select(known), expected.masked_select(known), 1e-8));
        } else {
            CHECK(golden::agrees(reference, value, {{"feat_s", student}}));
        }
    }
}

TEST_CASE("information_flow with the paper's normalization has manually computed values") {
    const auto teacher =
        torch::tensor({1.0, 2.0, -.5, .3, -1.2, .7, 2.1, .4, 1.5, -.8, .9, .2}, torch::kFloat64).view({4, 3});
    const auto student = torch::tensor({.5, 1.0, -.4, .8, 1.2, -.3, .1, .6}, torch::kFloat64).view({4, 2});
    auto options = InformationFlowOptions::paper();
    CHECK(std::abs(information_flow(student, teacher, options).item<double>() - 3.2374886456) < 1e-9);
    options.combined = false;
    CHECK(std::abs(information_flow(student, teacher, options).item<double>() - 3.0939959844) < 1e-9);
    options.kernel.kind = Kernel::Kind::student_t;
    CHECK(std::abs(information_flow(student, teacher, options).item<double>() - 0.1434926611) < 1e-9);
}

}  // namespace information_flow_test
