// SPDX-License-Identifier: BSL-1.0
/// \file
/// Losses that compute their gradient with their value: derivatives of any order, layouts, memory.
#include <allocations.hpp>
#include <finite_differences.hpp>
#include <retort_test.hpp>

#include <retort/detail/products.hpp>
#include <retort/knowledge/detail/cosine_distances.hpp>
#include <retort/knowledge/detail/sum_of_squares.hpp>
#include <retort/knowledge/logit/decoupled_kd.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

namespace known_gradient_test {

using namespace retort_test;
using retort::Reduction;
using retort::SoftTarget;
using Form = retort::SoftTarget::Form;

namespace {

/// The gradient of the gradient's weighted sum is that of finite differences of the gradient.
template <class Loss>
void second_derivatives_are_right(const Loss& loss, const torch::Tensor& at) {
    const auto weights = torch::randn_like(at);
    const auto slope = [&](const torch::Tensor& x, bool create_graph) {
        const torch::AutoGradMode with_gradients(true);
        const auto leaf = x.requires_grad() ? x : x.detach().requires_grad_();
        const auto value = loss(leaf);
        const auto gradient = torch::autograd::grad({value}, {leaf}, {}, c10::nullopt, create_graph)[0];
        return (gradient * weights).sum();
    };
    const auto leaf = at.detach().clone().requires_grad_();
    const auto found = torch::autograd::grad({slope(leaf, true)}, {leaf})[0];
    const auto expected = numerical_gradient([&](const torch::Tensor& x) { return slope(x, false); }, at);
    CHECK(close(found, expected, 1e-5, 1e-7));
}

}  // namespace

TEST_CASE("soft targets have second derivatives, in every form") {
    torch::manual_seed(1);
    const auto student = torch::randn({3, 4}, torch::kFloat64),
               teacher = torch::randn({3, 4}, torch::kFloat64);
    for (const Form form : {Form::forward, Form::reverse, Form::symmetric, Form::jensen_shannon,
                            Form::cross_entropy, Form::squared, Form::guarded}) {
        INFO("form " << static_cast<int>(form));
        second_derivatives_are_right(
            [&](const torch::Tensor& x) {
                return retort::functional::soft_target(x, teacher, {.temperature = 2.0, .form = form});
            },
            student);
    }
}

TEST_CASE("decoupled soft targets, sums of squares and cosines have second derivatives") {
    torch::manual_seed(2);
    const auto student = torch::randn({3, 4}, torch::kFloat64),
               teacher = torch::randn({3, 4}, torch::kFloat64);
    const auto target = torch::tensor({1, 3, 0}, torch::kLong);
    second_derivatives_are_right(
        [&](const torch::Tensor& x) {
            return retort::functional::decoupled_kd(x, teacher, target, {.non_target_weight = 2.0});
        },
        student);
    second_derivatives_are_right(
        [&](const torch::Tensor& x) {
            return retort::detail::sum_of_squares(x, Reduction::sum, 0.5,
                                                  [&](const torch::Tensor& y) { return y - teacher; });
        },
        student);
    second_derivatives_are_right(
        [&](const torch::Tensor& x) {
            return retort::detail::cosine_distances(x, teacher, 0.0, 1.0).square().sum();
        },
        student);
}

TEST_CASE("products of a tensor with itself have derivatives of both orders") {
    torch::manual_seed(3);
    const auto rows = torch::randn({4, 3}, torch::kFloat64), weights = torch::randn({4, 4}, torch::kFloat64);
    const auto gram = [&](const torch::Tensor& x) {
        return (retort::detail::gram(x) * weights).pow(2).sum();
    };
    const auto distances = [&](const torch::Tensor& x) {
        return (retort::detail::squared_distances(x) * weights).pow(2).sum();
    };
    const auto squares = [&](const torch::Tensor& x) { return retort::detail::mean_square(x).pow(2).sum(); };
    CHECK(close(gradient(gram, rows), numerical_gradient(gram, rows), 1e-6, 1e-8));
    CHECK(close(gradient(distances, rows), numerical_gradient(distances, rows), 1e-6, 1e-8));
    CHECK(close(gradient(squares, rows), numerical_gradient(squares, rows), 1e-6, 1e-8));
    second_derivatives_are_right(gram, rows);
    second_derivatives_are_right(distances, rows);
    second_derivatives_are_right(squares, rows);
    // Without a gradient the value is the same.
    CHECK(close(retort::detail::squared_distances(rows), torch::cdist(rows, rows).pow(2), 1e-10, 1e-12));
    CHECK(close(retort::detail::gram(rows.expand({2, 4, 3})), torch::mm(rows, rows.t()).expand({2, 4, 4}),
                1e-12));
}

TEST_CASE("a gradient can be computed twice, and accumulates over uses of one input") {
    torch::manual_seed(4);
    const auto teacher = torch::randn({3, 4}, torch::kFloat64);
    const auto leaf = torch::randn({3, 4}, torch::kFloat64).requires_grad_();
    const auto loss = retort::functional::soft_target(leaf, teacher);
    const auto first = torch::autograd::grad({loss}, {leaf}, {}, /*retain_graph=*/true)[0].clone();
    CHECK(same(torch::autograd::grad({loss}, {leaf})[0], first));
    const auto twice =
        retort::functional::soft_target(leaf, teacher) + 2 * retort::functional::soft_target(leaf, teacher);
    CHECK(close(torch::autograd::grad({twice}, {leaf})[0], 3 * first, 1e-12));
}

TEST_CASE("soft targets with masked classes are those without the classes") {
    const double infinity = std::numeric_limits<double>::infinity();
    torch::manual_seed(5);
    const auto student = torch::randn({3, 5}, torch::kFloat64),
               teacher = torch::randn({3, 5}, torch::kFloat64);
    const auto kept = torch::tensor({0, 2, 3}, torch::kLong);
    const auto masked = [&](const torch::Tensor& logits) {
        return logits.clone().index_fill_(1, torch::tensor({1, 4}, torch::kLong), -infinity);
    };
    for (const Form form : {Form::forward, Form::reverse, Form::symmetric, Form::jensen_shannon,
                            Form::cross_entropy, Form::squared}) {
        INFO("form " << static_cast<int>(form));
        const SoftTarget options{.temperature = 2.0, .form = form};
        const auto few = student.index_select(1, kept).requires_grad_();
        const auto expected = retort::functional::soft_target(few, teacher.index_select(1, kept), options);
        const auto leaf = masked(student).requires_grad_();
        const auto found = retort::functional::soft_target(leaf, masked(teacher), options);
        CHECK(close(found, expected, 1e-12));
        found.backward();
        expected.backward();
        CHECK(close(leaf.grad().index_select(1, kept), few.grad(), 1e-12));
        CHECK(leaf.grad().select(1, 1).abs().max().item<double>() == 0);
        CHECK(leaf.grad().select(1, 4).abs().max().item<double>() == 0);
    }
    CHECK(std::isinf(retort::functional::soft_target(masked(student), teacher).item<double>()));
    CHECK(std::isinf(
        retort::functional::soft_target(student, masked(teacher), {.form = Form::reverse}).item<double>()));
    CHECK(std::isfinite(
        retort::functional::soft_target(masked(student), teacher, {.form = Form::jensen_shannon})
            .item<double>()));
}

TEST_CASE("soft targets keep one tensor of the size of the logits for the backward pass") {
    const auto student = torch::randn({64, 1000}).requires_grad_(), teacher = torch::randn({64, 1000});
    const std::int64_t size = 64 * 1000 * 4;
    AllocationCount count;
    const auto loss = retort::functional::soft_target(student, teacher, {.temperature = 4.0});
    CHECK(count.bytes() < size + 10000);
    CHECK(count.peak() < 4 * size);
    loss.backward();
    CHECK(count.bytes() < size + 10000);
}

}  // namespace known_gradient_test
