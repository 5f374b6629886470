// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/connector/fit_net_regressor.hpp>
#include <retort/knowledge/feature/activation_boundary.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace activation_boundary_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;
using Options = retort::ActivationBoundaryOptions;

TEST_CASE("ActivationBoundary agrees with RepDistiller, with its connectors and layer weights") {
    for (const golden::Case& reference : golden::cases("ab__repdistiller")) {
        auto options = Options::rep_distiller();
        options.margin = reference.option("margin");
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        golden::Tensors leaves{{"feat_s", student}};
        torch::Tensor value;
        for (std::size_t i = 0; i < student.size(); ++i) {
            const std::string part = "connectors." + std::to_string(i);
            const double weight =
                std::pow(2.0, static_cast<double>(i + 1) - static_cast<double>(student.size()));
            torch::Tensor layer;
            if (reference.has_parameter(part + ".conv.weight")) {
                const golden::Renames renames{{"convolution", part + ".conv"}, {"norm", part + ".bn"}};
                retort::ActivationBoundary term{body, stage3, retort::FitNetRegressor{.relu = false},
                                                options};
                const auto batch = prepared(term, small(student[i]), big(teacher[i]));
                leaves.merge(golden::load(*term.module(), reference, renames));
                layer = term(small(student[i]), big(teacher[i]), batch);
            } else {
                layer = functional::activation_boundary(student[i], teacher[i], options);
            }
            value = value.defined() ? value + weight * layer : weight * layer;
        }
        CHECK(golden::agrees(reference, value, leaves));
    }
}

TEST_CASE("activation_boundary agrees with mmrazor and torchdistill") {
    for (const golden::Case& reference : golden::cases("ab__mmrazor")) {
        auto options = Options::mmrazor();
        options.margin = reference.option("margin");
        const auto student = reference.leaf("feat_s");
        CHECK(golden::agrees(reference,
                             functional::activation_boundary(student, reference.input("feat_t"), options),
                             {{"feat_s", {student}}}));
    }
    for (const golden::Case& reference : golden::cases("ab__torchdistill")) {
        auto options = Options::torchdistill();
        options.margin = reference.option("margin");
        if (reference.word("reduction") == "sum") options.reduction = retort::Reduction::sum;
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        const auto weights = reference.option_list("weights");
        torch::Tensor value;
        for (std::size_t i = 0; i < student.size(); ++i) {
            const auto layer = weights[i] * functional::activation_boundary(student[i], teacher[i], options);
            value = value.defined() ? value + layer : layer;
        }
        CHECK(golden::agrees(reference, value, {{"feat_s", student}}));
    }
}

TEST_CASE("activation_boundary: 0 beyond the margin on the teacher's side, and reductions") {
    const auto teacher = torch::tensor({{-0.5, 0.0}, {0.3, 2.0}}, torch::kFloat64);
    const auto student = torch::tensor({{-1.0, -3.0}, {1.0, 4.0}}, torch::kFloat64);
    CHECK(functional::activation_boundary(student, teacher).item<double>() == 0);
    const auto wrong = -student;  // by 2 and 4, 2 and 5
    CHECK(functional::activation_boundary(wrong, teacher).item<double>() == (4 + 16 + 4 + 25) / 2.0);
    CHECK(functional::activation_boundary(wrong, teacher, {.reduction = retort::Reduction::mean})
              .item<double>() == 49 / 4.0);
    CHECK(close(functional::activation_boundary(wrong, teacher, {.reduction = retort::Reduction::none}),
                torch::tensor({20.0, 29.0}, torch::kFloat64)));
    CHECK_THROWS_AS(functional::activation_boundary(student, teacher, {.margin = 0}), retort::ConfigError);
    CHECK_THROWS_AS(functional::activation_boundary(student, teacher.slice(1, 0, 1)), retort::ShapeError);
}

}  // namespace activation_boundary_test
