// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/fused_token_divergence.hpp>
#include <retort/knowledge/logit/token_divergence.hpp>

#include <golden.hpp>

namespace token_divergence_golden_test {

using namespace retort_test;
using retort::FusedTokenDivergence;
using retort::ProjectedLogits;
using retort::Reduction;
using retort::TokenDivergence;
using retort::functional::fused_token_divergence;
using retort::functional::token_divergence;

TEST_CASE("token_divergence agrees with TRL's generalized Jensen-Shannon divergence") {
    for (const golden::Case& reference : golden::cases("gkd__trl")) {
        const auto student = reference.leaf("logits_student");
        const auto labels = reference.has_input("labels") ? reference.input("labels") : torch::Tensor();
        TokenDivergence options = TokenDivergence::trl(reference.option("beta"), reference.option("T"));
        const std::string reduction = reference.word("reduction");
        options.reduction = reduction == "sum"    ? Reduction::sum
                            : reduction == "mean" ? Reduction::mean
                                                  : Reduction::batchmean;
        if (reference.option("num_items_in_batch") > 0)
            options.items = reference.option("num_items_in_batch");
        const auto value = token_divergence(student, reference.input("logits_teacher"), labels, options);
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("token_divergence agrees with torchtune's divergences") {
    for (const golden::Case& reference : golden::cases("kl__torchtune")) {
        const auto student = reference.leaf("logits_student");
        const std::string kind = reference.word("kind");
        TokenDivergence options =
            kind == "forward"   ? TokenDivergence::torchtune_forward()
            : kind == "reverse" ? TokenDivergence::torchtune_reverse()
                                : TokenDivergence::torchtune_symmetric(reference.option("sym_kd_ratio"));
        if (reference.option("normalize") == 0) options.reduction = Reduction::sum;
        const auto value =
            token_divergence(student, reference.input("logits_teacher"), reference.input("labels"), options);
        // The reference computes its softmax in float32. At equality its gradient is only rounding error (2e-8).
        const double floor = reference.name().ends_with("_equal") ? 1e-7 : 1e-12;
        if (reference.name() == "reverse_minus_inf") {
            // The reference's gradient is NaN where a word is impossible for the student; the library's is finite.
            CHECK(torch::isnan(reference.gradients().at("logits_student").at(0)).any().item<bool>());
            CHECK(golden::agrees(reference, value, {}, 1e-5, {"logits_student"}));
            const auto gradient = torch::autograd::grad({value}, {student}).at(0);
            CHECK(torch::isfinite(gradient).all().item<bool>());
            CHECK(gradient.masked_select(student.isinf()).abs().sum().item<double>() == 0);
            const auto shown = student.detach().clamp_min(-1e3).requires_grad_();
            const auto nearby = token_divergence(shown, reference.input("logits_teacher"),
                                                 reference.input("labels"), options);
            CHECK(close(gradient, torch::autograd::grad({nearby}, {shown}).at(0), 1e-12, 1e-14));
            continue;
        }
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}, 1e-5, {}, floor));
    }
}

TEST_CASE("fused_token_divergence agrees with Liger's fused linear Jensen-Shannon divergence") {
    for (const golden::Case& reference : golden::cases("jsd__liger")) {
        const auto hidden = reference.leaf("student_input"), weight = reference.leaf("student_weight");
        golden::Tensors leaves{{"student_input", {hidden}}, {"student_weight", {weight}}};
        ProjectedLogits student{hidden, weight};
        ProjectedLogits teacher{reference.input("teacher_input"), reference.input("teacher_weight")};
        if (reference.has_input("student_bias")) {
            student.bias = reference.leaf("student_bias");
            leaves["student_bias"] = {student.bias};
            teacher.bias = reference.input("teacher_bias");
        }
        FusedTokenDivergence options =
            FusedTokenDivergence::liger(reference.option("beta"), reference.option("T"));
        options.soft_weight = reference.option("weight_soft");
        options.hard_weight = reference.option("weight_hard");
        options.tokens_per_chunk = static_cast<std::int64_t>(reference.option("chunk_size"));
        options.soft.ignore_index = static_cast<std::int64_t>(reference.option("ignore_index"));
        const auto labels = reference.input("labels");
        const auto value = fused_token_divergence(student, teacher, labels, options);
        // The reference computes the hard part in float32.
        const double tolerance = options.hard_weight > 0 ? 1e-6 : 1e-8;
        CHECK(golden::agrees(reference, value, leaves, tolerance));

        FusedTokenDivergence part = options;
        part.hard_weight = 0;
        part.soft_weight = 1;
        CHECK(golden::deviation(fused_token_divergence(student, teacher, labels, part),
                                reference.component("soft")) <= 1e-8);
        part.hard_weight = 1;
        part.soft_weight = 0;
        CHECK(golden::deviation(fused_token_divergence(student, teacher, labels, part),
                                reference.component("hard")) <= 1e-6);
    }
}

}  // namespace token_divergence_golden_test
