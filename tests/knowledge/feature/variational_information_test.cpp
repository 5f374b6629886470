// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/variational_information.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace variational_information_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

TEST_CASE("VariationalInformation agrees with RepDistiller") {
    for (const golden::Case& reference : golden::cases("vid__repdistiller")) {
        const auto student = small(reference.leaf("feat_s"));
        const auto teacher = big(reference.input("feat_t"));
        retort::VariationalInformation term{body,
                                            stage3,
                                            {.hidden = reference.parameter("regressor.0.weight").size(0),
                                             .initial_variance = reference.option("init_pred_var"),
                                             .epsilon = reference.option("eps")}};
        const auto batch = prepared(term, student, teacher);
        auto leaves =
            golden::load(*term.module(), reference,
                         {{"first", "regressor.0"}, {"second", "regressor.2"}, {"third", "regressor.4"}});
        leaves["feat_s"] = {student.body};
        const auto value = term(student, teacher, batch);
        if (reference.name() == "large_log_scale") {
            // The reference's log(1 + exp(1000)) overflows; the softplus of 1000 is 1000.
            CHECK(std::isinf(reference.value().item<double>()));
            CHECK(value.isfinite().item<bool>());
            value.backward();
            for (const auto& parameter : term.module()->parameters())
                CHECK(parameter.grad().isfinite().all().item<bool>());
        } else {
            CHECK(golden::agrees(reference, value, leaves));
        }
    }
}

TEST_CASE("VariationalInformation learns the variances, from the given initial value") {
    for (const double variance : {5.0, 0.01, 1000.0}) {
        retort::VariationalInformation term{body, stage3, {.initial_variance = variance}};
        const auto student = small(torch::randn({2, 3, 4, 4}, torch::kFloat64));
        const auto teacher = big(torch::randn({2, 5, 4, 4}, torch::kFloat64));
        const auto batch = prepared(term, student, teacher);
        const auto log_scale = term.module()->named_parameters()["log_scale"];
        CHECK(close(torch::softplus(log_scale) + 1e-5, torch::full({5}, variance, torch::kFloat64), 1e-4));
        term(student, teacher, batch).backward();
        CHECK(log_scale.grad().abs().min().item<double>() > 0);
    }
}

TEST_CASE("VariationalInformation refuses invalid options") {
    CHECK_THROWS_AS(retort::VariationalInformation(body, stage3, {.initial_variance = 0}).check(),
                    retort::ConfigError);
    CHECK_THROWS_AS(retort::VariationalInformation(body, stage3, {.epsilon = 0}).check(),
                    retort::ConfigError);
    CHECK_THROWS_AS(functional::variational_information(torch::randn({2, 3, 4, 4}),
                                                        torch::randn({2, 3, 4, 4}), torch::zeros({2})),
                    retort::ShapeError);
    retort::VariationalInformation term{body, stage3};
    const auto batch = prepared(term, small(torch::randn({2, 3, 4, 4})), big(torch::randn({2, 5, 4, 4})));
    const auto found = message<retort::ShapeError>(
        [&] { term(small(torch::randn({2, 4, 4, 4})), big(torch::randn({2, 5, 4, 4})), batch); });
    CHECK(found.find("variational_information(body->stage3)") != std::string::npos);
    CHECK(found.find("[2, 4, 4, 4]") != std::string::npos);
}

}  // namespace variational_information_test
