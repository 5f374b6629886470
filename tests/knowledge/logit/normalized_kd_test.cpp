// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/normalized_kd.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace normalized_kd_test {

using namespace retort_test;
using retort::NormalizedKd;
using retort::Reduction;

TEST_CASE("normalized_kd keeps the laws") {
    for (const NormalizedKd& term : {NormalizedKd::image_net(), NormalizedKd::cifar()}) {
        auto loss =
            laws::of_term(term, {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
        loss.elements = 1;
        loss.never_negative = true;
        laws::hold(loss);
    }
}

TEST_CASE("normalized_kd agrees with cls_KD's NKD") {
    for (const golden::Case& reference : golden::cases("nkd__cls_kd")) {
        const auto student = reference.leaf("logits_student");
        const auto value = retort::functional::normalized_kd(
            student, reference.input("logits_teacher"), reference.input("target"),
            {.non_target_weight = reference.option("gamma"), .temperature = reference.option("T")});
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("normalized_kd refuses invalid options") {
    CHECK_THROWS_AS((NormalizedKd{.non_target_weight = -1}.check()), retort::ConfigError);
    CHECK_THROWS_AS((NormalizedKd{.temperature = 0}.check()), retort::ConfigError);
    const auto z = torch::randn({3, 1});
    CHECK_THROWS_AS(retort::functional::normalized_kd(z, z, torch::zeros({3}, torch::kLong)),
                    retort::ShapeError);
}

}  // namespace normalized_kd_test
