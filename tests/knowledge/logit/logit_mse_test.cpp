// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/cosine_logits.hpp>
#include <retort/knowledge/logit/logit_mse.hpp>

#include <loss_laws.hpp>

namespace logit_mse_test {

using namespace retort_test;
using retort::CosineLogits;
using retort::LogitMse;
using retort::Reduction;

TEST_CASE("logit_mse keeps the laws") {
    for (const double temperature : {1.0, 3.0}) {
        auto loss = laws::of_term(LogitMse{.temperature = temperature},
                                  {Reduction::mean, Reduction::none, Reduction::batchmean, Reduction::sum});
        loss.elements = 5;
        loss.never_negative = true;
        loss.zero_at_equality = true;
        laws::hold(loss);
    }
}

TEST_CASE("logit_mse is LibTorch's mse_loss of the divided logits") {
    const auto s = torch::randn({4, 3}, torch::kFloat64), t = torch::randn({4, 3}, torch::kFloat64);
    CHECK(close(retort::functional::logit_mse(s, t, {.temperature = 3.0}), torch::mse_loss(s / 3, t / 3),
                1e-12));
    CHECK_THROWS_AS((LogitMse{.temperature = 0}.check()), retort::ConfigError);
}

TEST_CASE("cosine_logits keeps the laws") {
    for (const bool centered : {false, true}) {
        auto loss = laws::of_term(CosineLogits{.centered = centered},
                                  {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
        loss.elements = 1;
        loss.never_negative = true;
        loss.zero_at_equality = true;
        laws::hold(loss);
    }
}

TEST_CASE("cosine_logits computed manually") {
    const auto s = torch::tensor({{1.0, 0.0}, {3.0, 4.0}, {0.0, 0.0}}, torch::kFloat64).requires_grad_();
    const auto t = torch::tensor({{0.0, 2.0}, {4.0, 3.0}, {1.0, 1.0}}, torch::kFloat64);
    const auto each = retort::functional::cosine_logits(s, t, {.reduction = Reduction::none});
    CHECK(close(each, torch::tensor({1.0, 0.04, 1.0}, torch::kFloat64), 1e-12));
    each.sum().backward();
    CHECK(close(s.grad()[2], -t[2] / std::sqrt(2.0), 1e-12));  // towards the teacher's direction
    // Invariant to the length of either.
    CHECK(close(retort::functional::cosine_logits(5 * s.detach(), 0.1 * t, {.reduction = Reduction::none}),
                each.detach(), 1e-12));
}

}  // namespace logit_mse_test
