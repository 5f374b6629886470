// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/soft_target.hpp>

#include <golden.hpp>

using namespace retort_test;

TEST_CASE("soft_target agrees with RepDistiller's KD") {
    for (const golden::Case& reference : golden::cases("kd__repdistiller")) {
        const auto student = reference.leaf("logits_student");
        const auto value = retort::functional::soft_target(student, reference.input("logits_teacher"),
                                                           {.temperature = reference.option("T")});
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}
