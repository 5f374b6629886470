// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/relation/relational.hpp>

#include <golden.hpp>

namespace relational_test {

using namespace retort_test;
using retort::RelationalOptions;
namespace functional = retort::functional;

TEST_CASE("relational agrees with RepDistiller's RKD") {
    for (const golden::Case& reference : golden::cases("rkd__repdistiller")) {
        const auto student = reference.leaf("feat_s");
        const auto value = functional::relational(
            student, reference.input("feat_t"),
            {.distance_weight = reference.option("w_d"), .angle_weight = reference.option("w_a")});
        if (reference.name() == "duplicate_rows") {
            // The reference divides the difference of two equal rows by 1e-12 and gives them gradients of
            // 4e11; here that pair has none.
            CHECK(golden::agrees(reference, value, {}, 1e-8, {"feat_s"}));
            const auto gradient = torch::autograd::grad({value}, {student})[0];
            CHECK(gradient.abs().max().item<double>() < 10);
            const auto expected = reference.gradients().at("feat_s")[0];
            CHECK(close(gradient.slice(0, 2), expected.slice(0, 2), 1e-8));
        } else {
            CHECK(golden::agrees(reference, value, {{"feat_s", {student}}}));
        }
    }
}

TEST_CASE("relational agrees with mmrazor's RKD") {
    for (const golden::Case& reference : golden::cases("rkd__mmrazor")) {
        const auto student = reference.leaf("feat_s");
        auto options =
            reference.option("with_l2_norm") != 0 ? RelationalOptions::mmrazor() : RelationalOptions{};
        const bool distance = reference.word("kind") == "distance";
        options.distance_weight = distance ? reference.option("loss_weight") : 0;
        options.angle_weight = distance ? 0 : reference.option("loss_weight");
        const auto value = functional::relational(student, reference.input("feat_t"), options);
        CHECK(golden::agrees(reference, value, {{"feat_s", {student}}}));
    }
}

TEST_CASE("relational_distance, relational_angle and hard_dark_rank agree with the authors' code") {
    for (const golden::Case& reference : golden::cases("rkd__lenscloth")) {
        const auto student = reference.leaf("feat_s");
        const auto teacher = reference.input("feat_t");
        torch::Tensor value;
        if (reference.name().starts_with("distance")) {
            value = functional::relational_distance(student, teacher);
        } else if (reference.name().starts_with("angle")) {
            value = functional::relational_angle(student, teacher);
        } else {
            REQUIRE(reference.name() == "hard_dark_rank");
            value = functional::hard_dark_rank(student, teacher);
        }
        CHECK(golden::agrees(reference, value, {{"feat_s", {student}}}));
    }
}

TEST_CASE("relational_angle is the same for any block size") {
    torch::manual_seed(1);
    const auto student = torch::randn({13, 7}, torch::kFloat64).requires_grad_();
    const auto teacher = torch::randn({13, 9}, torch::kFloat64);
    for (const auto reduction : {retort::Reduction::none, retort::Reduction::mean, retort::Reduction::sum}) {
        const auto all = functional::relational_angle(student, teacher, {.reduction = reduction});
        const auto weights = torch::randn_like(all);
        const auto expected = torch::autograd::grad({(all * weights).sum()}, {student})[0];
        for (const std::int64_t block : {1, 400, 13 * 13 * 13}) {
            const auto value =
                functional::relational_angle(student, teacher, {.reduction = reduction, .block = block});
            CHECK(close(value, all, 1e-12));
            CHECK(close(torch::autograd::grad({(value * weights).sum()}, {student})[0], expected, 1e-10,
                        1e-14));
        }
    }
}

TEST_CASE("relational_angle refuses second derivatives") {
    const auto student = torch::randn({4, 3}, torch::kFloat64).requires_grad_();
    const auto value = functional::relational_angle(student, torch::randn({4, 3}, torch::kFloat64));
    CHECK_THROWS_AS(torch::autograd::grad({value}, {student}, {}, true, /*create_graph=*/true),
                    retort::ConfigError);
}

}  // namespace relational_test
