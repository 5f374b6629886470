// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/class_attention_transfer.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace class_attention_transfer_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

TEST_CASE("class_attention_transfer agrees with the authors' code") {
    for (const golden::Case& reference : golden::cases("catkd__catkd")) {
        const auto student = reference.leaf("cam_s");
        const retort::ClassAttentionTransferOptions options{
            .resolution = static_cast<std::int64_t>(reference.option("resolution")),
            .normalize = reference.option("normalize") == 1,
            .binarize = reference.option("binarize") == 1,
            // The reference keeps one class less than its option.
            .top_classes = reference.option("partial") == 1
                               ? static_cast<std::int64_t>(reference.option("nums")) - 1
                               : 0};
        auto value = reference.option("weight") *
                     functional::class_attention_transfer(student, reference.input("cam_t"), options);
        if (reference.option("only") == 0) {
            value = value + reference.option("ce_weight") *
                                torch::cross_entropy_loss(student.mean({2, 3}), reference.input("target"));
        }
        CHECK(golden::agrees(reference, value, {{"cam_s", {student}}}));
    }
}

TEST_CASE("class_attention_transfer keeps the given number of classes, and zero maps have no gradient") {
    auto student = torch::randn({2, 4, 4, 4});
    student[0][1].zero_();
    student.requires_grad_();
    const auto teacher = torch::randn({2, 4, 8, 8}) + torch::arange(4).view({4, 1, 1}) * 10;
    functional::class_attention_transfer(student, teacher, {.top_classes = 2}).backward();
    CHECK(student.grad().isfinite().all().item<bool>());
    CHECK(student.grad().slice(1, 0, 2).abs().max().item<float>() == 0);
    CHECK(student.grad().slice(1, 2, 4).abs().max().item<float>() > 0);
    CHECK_THROWS_AS(functional::class_attention_transfer(student, teacher, {.resolution = 0}),
                    retort::ConfigError);
    const retort::ClassAttentionTransfer term{body, stage3};
    const auto found = message<retort::ShapeError>(
        [&] { term(small(student), big(torch::randn({2, 5, 4, 4})), torch::Tensor()); });
    CHECK(found.find("class_attention_transfer(body->stage3)") != std::string::npos);
    CHECK(found.find("[2, 5, 4, 4]") != std::string::npos);
}

}  // namespace class_attention_transfer_test
