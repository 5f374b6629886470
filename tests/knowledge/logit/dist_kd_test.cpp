// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/dist_kd.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace dist_kd_test {

using namespace retort_test;
using retort::DistKd;
using retort::Reduction;
using retort::functional::dist_kd;

TEST_CASE("dist_kd keeps the laws") {
    for (const DistKd& term : {DistKd{}, DistKd::torch_distill(), DistKd{.temperature = 4.0}}) {
        auto loss = laws::of_term(term, {Reduction::batchmean});
        loss.never_negative = true;
        loss.zero_at_equality = true;
        loss.zero = term.temperature > 1 ? 1e-4 : 1e-6;  // epsilon
        laws::hold(loss);
    }
}

TEST_CASE("dist_kd agrees with the authors' code for segmentation") {
    for (const golden::Case& reference : golden::cases("dist__dist_kd")) {
        const auto student = reference.leaf("logits_student");
        const auto rows = [](const torch::Tensor& logits) {  // every pixel is a row
            return logits.dim() == 4 ? logits.transpose(1, 3).reshape({-1, logits.size(1)}) : logits;
        };
        const auto value =
            dist_kd(rows(student), rows(reference.input("logits_teacher")),
                    {.sample_weight = reference.option("beta"), .class_weight = reference.option("gamma")});
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("dist_kd agrees with the authors' code for classification, and torchdistill's") {
    for (const char* file : {"dist__image_classification_sota", "dist__torchdistill"}) {
        for (const golden::Case& reference : golden::cases(file)) {
            const auto student = reference.leaf("logits_student");
            DistKd options;
            if (reference.has_option("eps")) {
                options = DistKd::torch_distill();
                options.epsilon = reference.option("eps");
            }
            options.sample_weight = reference.option("beta");
            options.class_weight = reference.option("gamma");
            options.temperature = reference.option("tau");
            const auto value = dist_kd(student, reference.input("logits_teacher"), options);
            CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
        }
    }
}

TEST_CASE("dist_kd omits the correlation over samples for a batch of one") {
    const auto z = torch::randn({1, 4}, torch::kFloat64), t = torch::randn({1, 4}, torch::kFloat64);
    CHECK(same(dist_kd(z, t), dist_kd(z, t, {.class_weight = 0.0})));
    CHECK_THROWS_AS((DistKd{.sample_weight = -1}.check()), retort::ConfigError);
    CHECK_THROWS_AS((DistKd{.temperature = 0}.check()), retort::ConfigError);
    CHECK_THROWS_AS((DistKd{.epsilon = 0}.check()), retort::ConfigError);
}

}  // namespace dist_kd_test
