// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/log_sum.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace log_sum_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

TEST_CASE("LogSum and a soft target without T^2 agree with torchdistill's SRD") {
    for (const golden::Case& reference : golden::cases("srd__torchdistill")) {
        const retort::LogSumOptions options{.exponent = reference.option("exponent")};
        const auto student = small(reference.leaf("feat_s"), reference.leaf("logits_student"));
        const auto teacher = big(reference.input("feat_t"), reference.input("logits_teacher"));
        golden::Tensors leaves{{"feat_s", {student.body}}, {"logits_student", {student.logits}}};
        torch::Tensor value;
        if (reference.option("wrapper") == 1) {
            retort::LogSum term{
                body, stage3, {.exponent = options.exponent, .epsilon = reference.option("bn_eps")}};
            const auto batch = prepared(term, student, teacher);
            leaves.merge(golden::load(*term.module(), reference, {{"projector", "linear"}}));
            value = term(student, teacher, batch);
        } else {
            value = functional::log_sum(student.body, teacher.stage3, options);
        }
        value = value + functional::soft_target(student.logits, teacher.logits,
                                                {.temperature = reference.option("T"), .t_squared = false});
        if (reference.name() == "equal_features") {
            // The reference's log 0; the library's is the logarithm of the smallest number, with gradient 0.
            CHECK(std::isinf(reference.value().item<double>()));
            CHECK(value.isfinite().item<bool>());
            CHECK(torch::autograd::grad({value}, {student.body})[0].abs().max().item<double>() == 0);
        } else {
            CHECK(golden::agrees(reference, value, leaves));
        }
    }
}

TEST_CASE("log_sum refuses mismatches") {
    CHECK_THROWS_AS(functional::log_sum(torch::randn({2, 3}), torch::randn({2, 4})), retort::ShapeError);
    CHECK_THROWS_AS(functional::log_sum(torch::randn({2, 3}), torch::randn({2, 3}), {.exponent = 0}),
                    retort::ConfigError);
    retort::LogSum term{body, stage3};
    const auto batch = prepared(term, small(torch::randn({2, 3})), big(torch::randn({2, 5})));
    const auto found = message<retort::ShapeError>(
        [&] { term(small(torch::randn({2, 4})), big(torch::randn({2, 5})), batch); });
    CHECK(found.find("log_sum(body->stage3)") != std::string::npos);
    CHECK(found.find("[2, 4]") != std::string::npos);
}

}  // namespace log_sum_test
