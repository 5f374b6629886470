// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/soft_target.hpp>

#include <loss_laws.hpp>

namespace soft_target_laws_test {

using namespace retort_test;
using retort::Reduction;
using retort::SoftTarget;
using Form = retort::SoftTarget::Form;

namespace {
laws::Loss soft_target(const SoftTarget& term) {
    auto loss = laws::of_term(term, {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
    loss.elements = 5;
    loss.never_negative = true;
    loss.zero_at_equality = true;
    return loss;
}
}  // namespace

TEST_CASE("soft_target keeps the laws") { laws::hold(soft_target({.temperature = 4.0})); }

TEST_CASE("soft_target of the other forms keeps the laws") {
    for (const SoftTarget& term :
         {SoftTarget{.temperature = 1.0}, SoftTarget{.t_squared = false}, SoftTarget{.form = Form::reverse},
          SoftTarget{.form = Form::symmetric}, SoftTarget{.form = Form::symmetric, .beta = 0.3},
          SoftTarget{.form = Form::jensen_shannon}, SoftTarget{.form = Form::jensen_shannon, .beta = 0.1},
          SoftTarget{.form = Form::squared}}) {
        INFO("form " << static_cast<int>(term.form) << ", beta " << term.beta);
        laws::hold(soft_target(term));
    }
}

TEST_CASE("soft_target as a cross-entropy keeps the laws, but is the teacher's entropy at equality") {
    const SoftTarget term{.temperature = 2.0, .form = Form::cross_entropy};
    auto loss = soft_target(term);
    loss.zero_at_equality = false;
    laws::hold(loss);
    const auto z = torch::randn({3, 5}, torch::kFloat64).requires_grad_();
    const auto value = retort::functional::soft_target(z, z.detach(), term);
    const auto p = (z / 2).softmax(1);
    CHECK(close(value, -4 * (p * p.log()).sum(1).mean(), 1e-12));
    value.backward();
    CHECK(close(z.grad(), torch::zeros_like(z), 0, 1e-12));
}

TEST_CASE("soft_target in the guarded form keeps the laws, but is a little below 0 at equality") {
    auto loss = soft_target(SoftTarget::deep_mutual_learning());
    loss.zero = 1e-7;
    laws::hold(loss);
}

TEST_CASE("soft_target's forms agree with each other") {
    torch::manual_seed(2);
    const auto s = torch::randn({4, 5}, torch::kFloat64), t = torch::randn({4, 5}, torch::kFloat64);
    const auto value = [](const auto& a, const auto& b, const SoftTarget& options) {
        return retort::functional::soft_target(a, b, options);
    };
    CHECK(close(value(s, t, {.form = Form::reverse}), value(t, s, {}), 1e-12));
    CHECK(close(value(s, t, {.form = Form::symmetric, .beta = 1.0}), value(s, t, {}), 1e-12));
    CHECK(close(value(s, t, {.form = Form::symmetric, .beta = 0.3}),
                0.3 * value(s, t, {}) + 0.7 * value(t, s, {}), 1e-12));
    CHECK(close(value(s, t, {.form = Form::jensen_shannon}), value(t, s, {.form = Form::jensen_shannon}),
                1e-12));
    const auto ps = (s / 4).softmax(1), pt = (t / 4).softmax(1), m = 0.3 * pt + 0.7 * ps;
    CHECK(close(value(s, t, {.form = Form::jensen_shannon, .beta = 0.3}),
                16 * (0.3 * pt * (pt / m).log() + 0.7 * ps * (ps / m).log()).sum(1).mean(), 1e-10));
    CHECK(value(s, t, {.temperature = 1.0, .form = Form::jensen_shannon}).item<double>() <= std::log(2.0));
    CHECK(close(value(s, t, {.t_squared = false}) * 16, value(s, t, {}), 1e-12));
}

TEST_CASE("soft_target refuses invalid options of a form") {
    const auto z = torch::randn({2, 3});
    for (const SoftTarget& term : {SoftTarget{.form = Form::jensen_shannon, .beta = 0},
                                   SoftTarget{.form = Form::jensen_shannon, .beta = 1},
                                   SoftTarget{.form = Form::symmetric, .beta = 1.5},
                                   SoftTarget{.form = Form::guarded, .epsilon = 0}}) {
        CHECK_THROWS_AS(term.check(), retort::ConfigError);
        CHECK_THROWS_AS(retort::functional::soft_target(z, z, term), retort::ConfigError);
    }
}

}  // namespace soft_target_laws_test
