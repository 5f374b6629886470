// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/relation/probabilistic_transfer.hpp>

#include <golden.hpp>

namespace probabilistic_transfer_test {

using namespace retort_test;
namespace functional = retort::functional;

TEST_CASE("probabilistic_transfer agrees with RepDistiller's PKT") {
    for (const golden::Case& reference : golden::cases("pkt__repdistiller")) {
        const auto student = reference.leaf("feat_s");
        const auto value = functional::probabilistic_transfer(student, reference.input("feat_t"),
                                                              {.epsilon = reference.option("eps")});
        if (reference.name() == "zero_student_row") {
            // The reference's gradient of the row of zeros is NaN.
            CHECK(golden::agrees(reference, value, {}, 1e-8, {"feat_s"}));
            const auto gradient = torch::autograd::grad({value}, {student})[0];
            CHECK(torch::isfinite(gradient).all().item<bool>());
            const auto expected = reference.gradients().at("feat_s")[0];
            const auto known = torch::isfinite(expected);
            CHECK(known.sum().item<std::int64_t>() == expected.numel() - expected.size(1));
            CHECK(close(gradient.masked_select(known), expected.masked_select(known), 1e-8));
        } else {
            CHECK(golden::agrees(reference, value, {{"feat_s", {student}}}));
        }
    }
}

TEST_CASE("probabilistic_transfer and class_neighbors agree with the authors' code") {
    for (const golden::Case& reference : golden::cases("pkt__probabilistic_kt")) {
        const auto student = reference.leaf("feat_s");
        const double weight = reference.option("supervised_weight");
        const auto unsupervised = functional::probabilistic_transfer(student, reference.input("feat_t"));
        const auto supervised = functional::class_neighbors(student, reference.input("target"));
        // The reference computes the supervised target in float32.
        CHECK(close(supervised, reference.component("supervised").to(torch::kFloat64), 1e-6));
        CHECK(golden::agrees(reference, unsupervised + weight * supervised, {{"feat_s", {student}}},
                             weight == 0 ? 1e-8 : 1e-6));
    }
}

}  // namespace probabilistic_transfer_test
