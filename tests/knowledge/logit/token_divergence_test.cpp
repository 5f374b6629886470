// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/core/error.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/logit/token_divergence.hpp>

#include <allocations.hpp>
#include <loss_laws.hpp>

namespace token_divergence_test {

using namespace retort_test;
using retort::Reduction;
using retort::SoftTarget;
using retort::TokenDivergence;
using retort::functional::soft_target;
using retort::functional::token_divergence;
using Form = retort::TokenDivergence::Form;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr std::array all_forms{Form::forward,        Form::reverse,       Form::symmetric,
                               Form::jensen_shannon, Form::cross_entropy, Form::symmetric_cross_entropy};

torch::Tensor random(at::IntArrayRef sizes) { return 2 * torch::randn(sizes, torch::kFloat64); }

torch::Tensor gradient(const torch::Tensor& value, const torch::Tensor& leaf) {
    return torch::autograd::grad({value}, {leaf}).at(0);
}

laws::Loss law(const TokenDivergence& term) {
    auto loss = laws::of_term(term, {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
    loss.elements = 5;
    loss.never_negative = true;
    loss.zero_at_equality = term.form != Form::cross_entropy && term.form != Form::symmetric_cross_entropy;
    return loss;
}

}  // namespace

TEST_CASE("token_divergence keeps the laws in all forms") {
    for (const Form form : all_forms) {
        INFO("form " << static_cast<int>(form));
        laws::hold(law({.form = form}));
    }
    laws::hold(law({.form = Form::jensen_shannon, .beta = 0.1, .temperature = 2.0}));
    laws::hold(law({.form = Form::symmetric, .beta = 0.3, .temperature = 3.0, .t_squared = false}));
    laws::hold(law({.skip_impossible = true}));
}

TEST_CASE("token_divergence is soft_target if every token counts") {
    torch::manual_seed(1);
    const auto student = random({6, 7}).requires_grad_(), teacher = random({6, 7});
    const std::vector<std::pair<Form, SoftTarget::Form>> forms{
        {Form::forward, SoftTarget::Form::forward},
        {Form::reverse, SoftTarget::Form::reverse},
        {Form::symmetric, SoftTarget::Form::symmetric},
        {Form::jensen_shannon, SoftTarget::Form::jensen_shannon},
        {Form::cross_entropy, SoftTarget::Form::cross_entropy}};
    for (const auto& [form, other] : forms) {
        for (const Reduction reduction :
             {Reduction::batchmean, Reduction::sum, Reduction::mean, Reduction::none}) {
            const auto value =
                token_divergence(student, teacher, {},
                                 {.form = form, .beta = 0.3, .temperature = 2.5, .reduction = reduction});
            const auto expected = soft_target(
                student, teacher, {.temperature = 2.5, .reduction = reduction, .form = other, .beta = 0.3});
            CHECK(close(value, expected, 1e-12, 1e-14));
            CHECK(close(gradient(value.square().sum(), student), gradient(expected.square().sum(), student),
                        1e-11, 1e-13));
        }
    }
}

TEST_CASE("token_divergence takes sequences, and returns values of their shape") {
    torch::manual_seed(2);
    const auto student = random({2, 3, 5}).requires_grad_(), teacher = random({2, 3, 5});
    const auto labels = torch::tensor({{1, -100, 2}, {-100, 0, 4}}, torch::kLong);
    const auto flat = [](const torch::Tensor& t) { return t.reshape({6, -1}); };
    const auto values = token_divergence(student, teacher, labels, {.reduction = Reduction::none});
    REQUIRE(values.sizes() == torch::IntArrayRef{2, 3});
    CHECK(close(values.flatten(), token_divergence(flat(student), flat(teacher), labels.flatten(),
                                                   {.reduction = Reduction::none})));
    CHECK(values.masked_select(labels == -100).abs().sum().item<double>() == 0);
    const auto mean = token_divergence(student, teacher, labels);
    CHECK(close(mean, values.sum() / 4, 1e-12));
    const auto slope = gradient(mean, student);
    CHECK(close(slope, gradient(values.sum() / 4, student), 1e-12));
    CHECK(close(token_divergence(student, teacher, labels, {.reduction = Reduction::mean}), values.sum() / 20,
                1e-12));
    CHECK(close(token_divergence(student, teacher, labels, {.items = 7}), values.sum() / 7, 1e-12));
    CHECK(close(token_divergence(student, teacher, labels, {.reduction = Reduction::mean, .items = 7}),
                values.sum() / 35, 1e-12));
    const auto other = labels.masked_fill(labels == -100, 3);
    CHECK(close(token_divergence(student, teacher, other, {.ignore_index = 3}), mean, 1e-12));
    // A student in another memory order: the gradient belongs to the right elements.
    const auto strided = student.detach().transpose(0, 2).contiguous().transpose(0, 2).requires_grad_();
    CHECK(close(gradient(token_divergence(strided, teacher, labels), strided), slope, 1e-12));
}

TEST_CASE("token_divergence ignores the contents of ignored tokens") {
    torch::manual_seed(3);
    const auto labels = torch::tensor({-100, 1, -100, 2}, torch::kLong);
    for (const Form form : all_forms) {
        const auto student = random({4, 5}), teacher = random({4, 5});
        auto hole = student.clone(), teacher_hole = teacher.clone();
        hole[0].fill_(not_a_number);
        hole[2].fill_(-infinity);
        teacher_hole[0].fill_(infinity);
        teacher_hole[2].fill_(not_a_number);
        const auto leaf = student.clone().requires_grad_(), hole_leaf = hole.clone().requires_grad_();
        for (const Reduction reduction : {Reduction::batchmean, Reduction::none}) {
            const TokenDivergence options{.form = form, .reduction = reduction};
            const auto expected = token_divergence(leaf, teacher, labels, options);
            const auto found = token_divergence(hole_leaf, teacher_hole, labels, options);
            CHECK(same(found, expected));
            CHECK(same(gradient(found.sum(), hole_leaf), gradient(expected.sum(), leaf)));
        }
        CHECK(gradient(token_divergence(hole_leaf, teacher_hole, labels, {.form = form}), hole_leaf)[0]
                  .abs()
                  .sum()
                  .item<double>() == 0);
    }
}

TEST_CASE("token_divergence is zero with zero gradient if no token counts") {
    for (const Reduction reduction :
         {Reduction::batchmean, Reduction::sum, Reduction::mean, Reduction::none}) {
        const auto student = random({2, 3, 5}).requires_grad_();
        const auto value = token_divergence(
            student, random({2, 3, 5}), torch::full({2, 3}, -100, torch::kLong), {.reduction = reduction});
        CHECK(value.abs().sum().item<double>() == 0);
        const auto slope = gradient(value.sum(), student);
        CHECK(same(slope, torch::zeros_like(slope)));
    }
}

TEST_CASE("token_divergence propagates NaN in counted tokens") {
    for (const Form form : all_forms) {
        auto student = random({2, 4}), teacher = random({2, 4});
        student[1][2] = not_a_number;
        CHECK(std::isnan(token_divergence(student, teacher, {}, {.form = form}).item<double>()));
        CHECK(std::isnan(token_divergence(teacher, student, {}, {.form = form}).item<double>()));
    }
}

TEST_CASE("token_divergence of impossible words") {
    torch::manual_seed(4);
    auto student = random({3, 6}), teacher = random({3, 6});
    const auto narrow = [](const torch::Tensor& t) { return t.slice(1, 0, 4).clone(); };
    for (const Form form : all_forms) {
        // Impossible on both sides, as the padding of a vocabulary: as if the words were absent.
        auto s = student.clone(), t = teacher.clone();
        s.slice(1, 4).fill_(-infinity);
        t.slice(1, 4).fill_(-infinity);
        s.requires_grad_();
        const auto value = token_divergence(s, t, {}, {.form = form});
        const auto short_leaf = narrow(student).requires_grad_();
        const auto expected = token_divergence(short_leaf, narrow(teacher), {}, {.form = form});
        CHECK(close(value, expected, 1e-12));
        const auto slope = gradient(value, s);
        CHECK(close(slope.slice(1, 0, 4), gradient(expected, short_leaf), 1e-12, 1e-14));
        CHECK(slope.slice(1, 4).abs().sum().item<double>() == 0);
    }
    // For the teacher alone: the limit of ever smaller logits where it is finite.
    auto t = teacher.clone(), near = teacher.clone();
    t.select(1, 2).fill_(-infinity);
    near.select(1, 2).fill_(-1e4);
    for (const Form form : {Form::forward, Form::jensen_shannon, Form::cross_entropy}) {
        const auto s = student.clone().requires_grad_();
        const auto value = token_divergence(s, t, {}, {.form = form});
        const auto expected = token_divergence(s, near, {}, {.form = form});
        CHECK(close(value, expected, 1e-12));
        CHECK(close(gradient(value, s), gradient(expected, s), 1e-12, 1e-14));
    }
    CHECK(token_divergence(student, t, {}, {.form = Form::reverse}).item<double>() == infinity);
    // For the student alone.
    for (const Form form : {Form::reverse, Form::jensen_shannon}) {
        const auto s = t.clone().requires_grad_(), close_by = near.clone().requires_grad_();
        const auto value = token_divergence(s, student, {}, {.form = form});
        const auto expected = token_divergence(close_by, student, {}, {.form = form});
        CHECK(close(value, expected, 1e-12));
        CHECK(close(gradient(value, s), gradient(expected, close_by), 1e-12, 1e-14));
    }
    CHECK(token_divergence(t, student, {}).item<double>() == infinity);
    const auto skipped =
        token_divergence(t, student, {}, {.form = Form::cross_entropy, .skip_impossible = true});
    const auto terms = (-student.softmax(1) * t.log_softmax(1)).masked_fill(t.isinf(), 0);
    CHECK(close(skipped, terms.sum(1).mean(), 1e-12));
}

TEST_CASE("token_divergence can be differentiated twice over the same graph, but not to second order") {
    torch::manual_seed(5);
    const auto student = random({4, 5}).requires_grad_();
    for (const Reduction reduction : {Reduction::batchmean, Reduction::none}) {
        const auto value = token_divergence(student, random({4, 5}), {}, {.reduction = reduction}).sum();
        const auto first =
            torch::autograd::grad({2 * value}, {student}, {}, /*retain_graph=*/true).at(0).clone();
        const auto second =
            torch::autograd::grad({3 * value}, {student}, {}, /*retain_graph=*/true).at(0).clone();
        const auto third = torch::autograd::grad({value}, {student}).at(0);
        CHECK(close(first, 2 * third, 1e-12));
        CHECK(close(second, 3 * third, 1e-12));
    }
    const auto value = token_divergence(student, random({4, 5}));
    CHECK_THROWS_WITH(torch::autograd::grad({value}, {student}, {}, true, /*create_graph=*/true),
                      Catch::Contains("second derivatives are not supported"));
}

TEST_CASE("token_divergence without gradient computes none") {
    const auto student = random({4, 5}).requires_grad_(), teacher = random({4, 5});
    const auto value = token_divergence(student, teacher);
    {
        const torch::NoGradGuard guard;
        const auto alone = token_divergence(student, teacher);
        CHECK_FALSE(alone.requires_grad());
        CHECK(same(alone, value.detach()));
    }
    CHECK_FALSE(token_divergence(student.detach(), teacher.clone().requires_grad_()).requires_grad());
}

TEST_CASE("token_divergence allocates one tensor of the logits' size") {
    constexpr std::int64_t tokens = 512, words = 4096, size = tokens * words * 4;
    torch::manual_seed(6);
    const auto student = torch::randn({tokens, words}).requires_grad_(),
               teacher = torch::randn({tokens, words});
    const auto labels = torch::randint(words, {tokens}, torch::kLong);
    for (const Form form : {Form::forward, Form::reverse, Form::jensen_shannon}) {
        AllocationCount count;
        token_divergence(student, teacher, labels, {.form = form}).backward();
        CHECK(count.largest() == size);
        CHECK(count.peak() >= size);
        CHECK(count.peak() <= size * 2);
        CHECK(count.bytes() == size);
        student.mutable_grad().reset();
    }
}

TEST_CASE("token_divergence of mixed float64 and float32 logits, and of 16-bit sequences") {
    torch::manual_seed(7);
    const auto student = random({2, 3, 9}), teacher = random({2, 3, 9});
    const auto labels = torch::tensor({{1, -100, 2}, {-100, 0, 4}}, torch::kLong);
    const auto expected = token_divergence(student, teacher, labels);
    const auto single = student.to(torch::kFloat32).requires_grad_();
    const auto mixed = token_divergence(single, teacher, labels);
    CHECK(mixed.scalar_type() == torch::kFloat64);
    CHECK(close(mixed, expected, 1e-5));
    CHECK(gradient(mixed, single).scalar_type() == torch::kFloat32);
    const auto low = student.to(torch::kBFloat16).requires_grad_();
    const auto value = token_divergence(low, teacher.to(torch::kBFloat16), labels);
    CHECK(value.scalar_type() == torch::kFloat32);
    CHECK(close(value, token_divergence(low.detach().to(torch::kFloat32),
                                        teacher.to(torch::kBFloat16).to(torch::kFloat32), labels)));
    CHECK(gradient(value, low).scalar_type() == torch::kBFloat16);
}

TEST_CASE("token_divergence refuses mismatches") {
    const auto z = random({2, 3, 5});
    const auto labels = torch::zeros({2, 3}, torch::kLong);
    using retort::ShapeError;
    CHECK_THROWS_WITH(
        token_divergence(z, random({2, 3, 6})),
        "token_divergence: expected the student's logits and the teacher's logits of equal shape, found "
        "[2, 3, 5] and [2, 3, 6]");
    CHECK_THROWS_WITH(
        token_divergence(z, z, labels.flatten()),
        "token_divergence: expected labels of shape [2, 3] and type Long, one for each token, found [6] "
        "and Long");
    CHECK_THROWS_AS(token_divergence(z, z, labels.to(torch::kInt)), ShapeError);
    CHECK_THROWS_AS(token_divergence(z[0][0], z[0][0]), ShapeError);
    CHECK_THROWS_AS(token_divergence(labels, labels), ShapeError);
    CHECK_THROWS_AS(token_divergence(random({0, 5}), random({0, 5})), ShapeError);
    using retort::ConfigError;
    for (const TokenDivergence& options :
         {TokenDivergence{.temperature = 0}, TokenDivergence{.temperature = not_a_number},
          TokenDivergence{.items = -1}, TokenDivergence{.form = Form::jensen_shannon, .beta = 0},
          TokenDivergence{.form = Form::jensen_shannon, .beta = 1},
          TokenDivergence{.form = Form::symmetric, .beta = 2}}) {
        CHECK_THROWS_AS(token_divergence(z, z, labels, options), ConfigError);
    }
}

TEST_CASE("token_divergence as a term takes the labels of the batch if there are any") {
    torch::manual_seed(8);
    const laws::Outputs student{random({4, 5})}, teacher{random({4, 5})};
    const auto labels = torch::tensor({0, -100, 1, -100}, torch::kLong);
    const TokenDivergence term{};
    CHECK(same(term(student, teacher, std::pair{torch::Tensor(), labels}),
               token_divergence(student.logits, teacher.logits, labels)));
    CHECK(same(term(student, teacher, torch::Tensor()), token_divergence(student.logits, teacher.logits)));
}

}  // namespace token_divergence_test
