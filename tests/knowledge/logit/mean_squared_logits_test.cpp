// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/cosine_logits.hpp>
#include <retort/knowledge/logit/mean_squared_logits.hpp>

#include <loss_laws.hpp>

using namespace retort_test;
using retort::CosineLogits;
using retort::MeanSquaredLogits;
using retort::Reduction;

TEST_CASE("mean_squared_logits keeps the laws") {
    for (const double temperature : {1.0, 3.0}) {
        auto loss = laws::of_term(MeanSquaredLogits{.temperature = temperature},
                                  {Reduction::mean, Reduction::none, Reduction::batchmean, Reduction::sum});
        loss.elements = 5;
        loss.never_negative = true;
        loss.zero_at_equality = true;
        laws::hold(loss);
    }
}

TEST_CASE("mean_squared_logits is LibTorch's mse_loss of the divided logits") {
    const auto s = torch::randn({4, 3}, torch::kFloat64), t = torch::randn({4, 3}, torch::kFloat64);
    CHECK(close(retort::functional::mean_squared_logits(s, t, {.temperature = 3.0}),
                torch::mse_loss(s / 3, t / 3), 1e-12));
    CHECK_THROWS_AS((MeanSquaredLogits{.temperature = 0}.check()), retort::ConfigError);
}

TEST_CASE("cosine_logits keeps the laws") {
    for (const bool centred : {false, true}) {
        auto loss = laws::of_term(CosineLogits{.centred = centred},
                                  {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
        loss.elements = 1;
        loss.never_negative = true;
        loss.zero_at_equality = true;
        laws::hold(loss);
    }
}

TEST_CASE("cosine_logits by hand") {
    const auto s = torch::tensor({{1.0, 0.0}, {3.0, 4.0}, {0.0, 0.0}}, torch::kFloat64).requires_grad_();
    const auto t = torch::tensor({{0.0, 2.0}, {4.0, 3.0}, {1.0, 1.0}}, torch::kFloat64);
    const auto each = retort::functional::cosine_logits(s, t, {.reduction = Reduction::none});
    CHECK(close(each, torch::tensor({1.0, 0.04, 1.0}, torch::kFloat64), 1e-12));
    each.sum().backward();
    CHECK(close(s.grad()[2], -t[2] / std::sqrt(2.0), 1e-12));  // towards the teacher's direction
    // Blind to the length of either.
    CHECK(close(retort::functional::cosine_logits(5 * s.detach(), 0.1 * t, {.reduction = Reduction::none}),
                each.detach(), 1e-12));
}
