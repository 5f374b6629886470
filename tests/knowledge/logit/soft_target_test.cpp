// SPDX-License-Identifier: BSL-1.0
/// \file
/// Soft targets: values, gradients, reductions, extremes and errors.
#include <finite_differences.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/knowledge/logit/soft_target.hpp>

namespace soft_target_test {

using namespace retort_test;
using retort::Reduction;
using retort::SoftTarget;
using retort::functional::soft_target;

namespace {
torch::Tensor rows(std::initializer_list<double> values, std::int64_t classes) {
    return torch::tensor(std::vector<double>(values), torch::kFloat64).reshape({-1, classes});
}
const double by_hand = 0.75 * std::log(1.5) + 0.25 * std::log(0.5);  // KL((3/4, 1/4) || (1/2, 1/2))
}  // namespace

TEST_CASE("soft targets computed manually") {
    const auto student = rows({0, 0}, 2);
    CHECK(soft_target(student, rows({std::log(3.0), 0}, 2), {.temperature = 1.0}).item<double>() ==
          Approx(by_hand).epsilon(1e-12));
    // At temperature 2 the same distributions come from twice the logits; the factor is 4.
    CHECK(soft_target(student, rows({2 * std::log(3.0), 0}, 2), {.temperature = 2.0}).item<double>() ==
          Approx(4 * by_hand).epsilon(1e-12));
    CHECK(soft_target(student, rows({2 * std::log(3.0), 0}, 2), {.temperature = 2.0, .t_squared = false})
              .item<double>() == Approx(by_hand).epsilon(1e-12));
}

TEST_CASE("the reductions and their relations") {
    torch::manual_seed(1);
    const auto student = torch::randn({5, 3}, torch::kFloat64),
               teacher = torch::randn({5, 3}, torch::kFloat64);
    const auto value = [&](Reduction reduction) {
        return soft_target(student, teacher, {.reduction = reduction});
    };
    const auto none = value(Reduction::none);
    CHECK(none.sizes() == at::IntArrayRef({5}));
    CHECK(close(value(Reduction::sum), none.sum(), 1e-12));
    CHECK(close(value(Reduction::batchmean), none.mean(), 1e-12));
    CHECK(close(value(Reduction::mean) * 3, none.mean(), 1e-12));
    for (std::int64_t i = 0; i < 5; ++i) {
        CHECK(close(soft_target(student.narrow(0, i, 1), teacher.narrow(0, i, 1)), none[i], 1e-12));
    }
}

TEST_CASE("soft targets are T^2 times LibTorch's divergence") {
    torch::manual_seed(2);
    for (const double temperature : {0.5, 1.0, 4.0, 20.0}) {
        const auto student = torch::randn({4, 7}, torch::kFloat64) * 3,
                   teacher = torch::randn({4, 7}, torch::kFloat64);
        const auto expected = torch::kl_div(torch::log_softmax(student / temperature, 1),
                                            torch::softmax(teacher / temperature, 1), at::Reduction::Sum) /
                              4 * temperature * temperature;
        CHECK(close(soft_target(student, teacher, {.temperature = temperature}), expected, 1e-10));
    }
}

TEST_CASE("the gradient is T (softmax_s - softmax_t) / batch, and agrees with finite differences") {
    torch::manual_seed(3);
    const auto student = torch::randn({3, 4}, torch::kFloat64),
               teacher = torch::randn({3, 4}, torch::kFloat64);
    for (const double temperature : {1.0, 4.0}) {
        const auto loss = [&](const torch::Tensor& x) {
            return soft_target(x, teacher, {.temperature = temperature});
        };
        const auto found = gradient(loss, student);
        CHECK(close(found, numerical_gradient(loss, student), 1e-6, 1e-9));
        const auto formula =
            temperature *
            (torch::softmax(student / temperature, 1) - torch::softmax(teacher / temperature, 1)) / 3;
        CHECK(close(found, formula, 1e-10, 1e-14));
    }
}

TEST_CASE("the teacher's logits get no gradient, even if they require one") {
    const auto student = torch::randn({3, 4}).requires_grad_(),
               teacher = torch::randn({3, 4}).requires_grad_();
    soft_target(student, teacher).backward();
    CHECK(student.grad().defined());
    CHECK_FALSE(teacher.grad().defined());
}

TEST_CASE("zero at equality and after a shift, never negative") {
    torch::manual_seed(4);
    const auto logits = torch::randn({6, 5}, torch::kFloat64);
    CHECK(soft_target(logits, logits).item<double>() == 0.0);
    CHECK(std::abs(soft_target(logits + 3.0, logits).item<double>()) < 1e-12);
    CHECK(gradient([&](const auto& x) { return soft_target(x, logits); }, logits).abs().max().item<double>() <
          1e-15);
    for (int i = 0; i < 50; ++i) {
        const auto other = torch::randn({6, 5}, torch::kFloat64) * (1 + i);
        CHECK((soft_target(other, logits, {.reduction = Reduction::none}) >= -1e-12).all().item<bool>());
    }
}

TEST_CASE("extreme logits give finite values and gradients, in every type") {
    for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
        const auto student = torch::tensor({{1e4, -1e4, 0.0}, {-1e4, 1e4, 1e4}}).to(type);
        const auto teacher = torch::tensor({{-1e4, 1e4, 0.0}, {-1e4, 1e4, 1e4}}).to(type);
        for (const double temperature : {1.0, 4.0}) {
            const auto leaf = student.clone().requires_grad_();
            const auto loss = soft_target(leaf, teacher, {.temperature = temperature});
            CHECK(loss.isfinite().item<bool>());
            loss.backward();
            CHECK(leaf.grad().isfinite().all().item<bool>());
            CHECK(leaf.grad().scalar_type() == type);
        }
    }
}

TEST_CASE("16-bit logits are computed in float32") {
    torch::manual_seed(5);
    for (const auto type : {torch::kBFloat16, torch::kFloat16}) {
        const auto student = torch::randn({4, 6}).to(type), teacher = torch::randn({4, 6}).to(type);
        const auto loss = soft_target(student, teacher);
        CHECK(loss.scalar_type() == torch::kFloat32);
        CHECK(same(loss, soft_target(student.to(torch::kFloat32), teacher.to(torch::kFloat32))));
    }
}

TEST_CASE("one sample, equal rows, a class that is nearly impossible for the teacher") {
    CHECK(soft_target(rows({1, 2, 3}, 3), rows({3, 2, 1}, 3)).isfinite().item<bool>());
    const auto one = soft_target(rows({0, 1}, 2), rows({1, 0}, 2));
    const auto two = soft_target(rows({0, 1, 0, 1}, 2), rows({1, 0, 1, 0}, 2));
    CHECK(close(one, two, 1e-12));
    CHECK(soft_target(rows({0, 0}, 2), rows({0, -800}, 2), {.temperature = 1.0}).item<double>() ==
          Approx(std::log(2.0)).epsilon(1e-12));
    CHECK(soft_target(rows({5}, 1), rows({-5}, 1)).item<double>() == 0.0);
}

TEST_CASE("the layout in memory does not matter") {
    torch::manual_seed(6);
    const auto student = torch::randn({7, 4}, torch::kFloat64).t(),
               teacher = torch::randn({4, 14}, torch::kFloat64);
    const auto every_second = teacher.slice(1, 0, 14, 2);
    CHECK(close(soft_target(student, every_second),
                soft_target(student.contiguous(), every_second.contiguous()), 1e-14));
}

TEST_CASE("the order of samples and of classes does not matter") {
    torch::manual_seed(7);
    const auto student = torch::randn({5, 4}, torch::kFloat64),
               teacher = torch::randn({5, 4}, torch::kFloat64);
    const auto expected = soft_target(student, teacher);
    CHECK(close(soft_target(student.flip(0), teacher.flip(0)), expected, 1e-12));
    CHECK(close(soft_target(student.flip(1), teacher.flip(1)), expected, 1e-12));
}

TEST_CASE("bad logits are named with their shapes") {
    const auto fine = torch::randn({2, 3});
    const auto words = [](const torch::Tensor& student, const torch::Tensor& teacher) {
        return words_of<retort::ShapeError>([&] { soft_target(student, teacher); });
    };
    CHECK(words(fine, torch::randn({2, 4})) ==
          "soft_target: expected the student's logits and the teacher's logits of equal shape, found [2, 3] "
          "and "
          "[2, 4]");
    CHECK(words(torch::randn({2, 3, 1}), fine) ==
          "soft_target: expected the student's logits of shape [batch, classes], found [2, 3, 1]");
    CHECK(holds(words(fine, torch::randn({3})), "the teacher's logits of shape [batch, classes], found [3]"));
    CHECK(holds(words(torch::randn({0, 3}), torch::randn({0, 3})), "found [0, 3]"));
    CHECK(holds(words(torch::randn({2, 0}), torch::randn({2, 0})), "found [2, 0]"));
    CHECK(holds(words(torch::Tensor(), fine), "the student's logits to be a tensor, found an undefined one"));
    CHECK(holds(words(fine, torch::ones({2, 3}, torch::kLong)), "of a floating-point type, found Long"));
    CHECK(holds(words(fine.to(at::kMeta), fine), "on one device, found meta and cpu"));
}

TEST_CASE("an invalid temperature is an error") {
    const auto logits = torch::randn({2, 3});
    for (const double temperature : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
        const auto words =
            words_of<retort::ConfigError>([&] { soft_target(logits, logits, {.temperature = temperature}); });
        CHECK(holds(words, "SoftTarget: expected a temperature above 0, found "));
        CHECK_THROWS_AS((SoftTarget{.temperature = temperature}.check()), retort::ConfigError);
    }
}

TEST_CASE("the policy is the function on the logits of the outputs") {
    const ConvOutputs student{torch::randn({2, 3}), {}, {}};
    const auto teacher = torch::randn({2, 3});
    const SoftTarget term{.temperature = 2.0};
    CHECK(same(term(student, teacher, torch::Tensor()), soft_target(student.logits, teacher, term)));
    CHECK(SoftTarget::name() == "soft_target");
    STATIC_REQUIRE((SoftTarget::needs_teacher && !SoftTarget::needs_target));
}

}  // namespace soft_target_test
