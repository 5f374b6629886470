// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/core/error.hpp>
#include <retort/knowledge/logit/fused_token_divergence.hpp>
#include <retort/knowledge/logit/token_divergence.hpp>

#include <allocations.hpp>
#include <loss_laws.hpp>

namespace fused_token_divergence_test {

using namespace retort_test;
using retort::FusedTokenDivergence;
using retort::ProjectedLogits;
using retort::Reduction;
using retort::SparseTeacher;
using retort::TokenDivergence;
using retort::functional::fused_token_divergence;
using retort::functional::token_divergence;
using Form = retort::TokenDivergence::Form;

namespace {

torch::Tensor random(at::IntArrayRef sizes) { return torch::randn(sizes, torch::kFloat64); }

torch::Tensor multiplied_out(const ProjectedLogits& logits) {
    const auto product = logits.hidden.matmul(logits.weight.t());
    return logits.bias.defined() ? product + logits.bias : product;
}

ProjectedLogits leaves(const ProjectedLogits& logits) {
    return {logits.hidden.detach().clone().requires_grad_(), logits.weight.detach().clone().requires_grad_(),
            logits.bias.defined() ? logits.bias.detach().clone().requires_grad_() : torch::Tensor()};
}

std::vector<torch::Tensor> gradients(const torch::Tensor& value, const ProjectedLogits& logits) {
    std::vector<torch::Tensor> inputs{logits.hidden, logits.weight};
    if (logits.bias.defined()) inputs.push_back(logits.bias);
    return torch::autograd::grad({value}, inputs);
}

/// Value and gradients are those of the loss on materialized logits.
template <class Teacher>
void agrees_with_unfused(const ProjectedLogits& student, const Teacher& teacher,
                         const torch::Tensor& teacher_logits, const torch::Tensor& labels,
                         const FusedTokenDivergence& options) {
    const ProjectedLogits fused = leaves(student), unfused = leaves(student);
    const auto found = fused_token_divergence(fused, teacher, labels, options);
    const auto logits = multiplied_out(unfused);
    torch::Tensor expected;
    if constexpr (std::is_same_v<Teacher, SparseTeacher>) {
        expected = token_divergence(logits, teacher, labels, options.soft);
    } else {
        expected = token_divergence(logits, teacher_logits, labels, options.soft);
    }
    expected = options.soft_weight * expected;
    if (options.hard_weight != 0) {
        const bool per_token = options.soft.reduction == Reduction::none;
        auto hard =
            torch::cross_entropy_loss(logits.reshape({-1, logits.size(-1)}), labels.flatten(), {},
                                      per_token                                  ? at::Reduction::None
                                      : options.soft.reduction == Reduction::sum ? at::Reduction::Sum
                                                                                 : at::Reduction::Mean,
                                      options.soft.ignore_index);
        if (per_token) hard = hard.reshape(labels.sizes());
        expected = expected + options.hard_weight * hard;
    }
    CHECK(close(found, expected, 1e-10, 1e-13));
    // Different weights of the tokens, so that a mix-up is detected.
    const auto outer = torch::arange(1, found.numel() + 1, torch::kFloat64).reshape(found.sizes());
    const auto slopes = gradients((found * outer).sum(), fused);
    const auto expected_slopes = gradients((expected * outer).sum(), unfused);
    for (std::size_t i = 0; i < slopes.size(); ++i) CHECK(close(slopes[i], expected_slopes[i], 1e-10, 1e-12));
}

}  // namespace

TEST_CASE("fused_token_divergence is token_divergence of the materialized logits") {
    torch::manual_seed(1);
    const ProjectedLogits student{random({11, 4}), random({9, 4})};
    const ProjectedLogits biased{random({11, 4}), random({9, 4}), random({9})};
    const ProjectedLogits teacher{random({11, 6}), random({9, 6}), random({9})};
    const auto teacher_logits = multiplied_out(teacher);
    auto labels = torch::randint(9, {11}, torch::kLong);
    labels[2] = -100;
    labels[10] = -100;
    for (const std::int64_t chunk : {0, 1, 2, 3, 7, 10, 11, 500}) {
        INFO("chunks of " << chunk);
        for (const Reduction reduction : {Reduction::batchmean, Reduction::sum, Reduction::none}) {
            FusedTokenDivergence options{.soft = {.temperature = 2.0, .reduction = reduction},
                                         .tokens_per_chunk = chunk};
            agrees_with_unfused(student, teacher, teacher_logits, labels, options);
            agrees_with_unfused(biased, teacher_logits, teacher_logits, torch::Tensor(), options);
            options.hard_weight = 0.7;
            options.soft_weight = 0.4;
            agrees_with_unfused(biased, teacher, teacher_logits, labels, options);
        }
    }
}

TEST_CASE("fused_token_divergence in all forms, also for sequences") {
    torch::manual_seed(2);
    const ProjectedLogits student{random({2, 5, 4}), random({9, 4}), random({9})};
    const ProjectedLogits teacher{random({2, 5, 3}), random({9, 3})};
    const auto teacher_logits = multiplied_out(teacher);
    auto labels = torch::randint(9, {2, 5}, torch::kLong);
    labels[1][0] = -100;
    for (const Form form : {Form::forward, Form::reverse, Form::symmetric, Form::jensen_shannon,
                            Form::cross_entropy, Form::symmetric_cross_entropy}) {
        for (const Reduction reduction : {Reduction::batchmean, Reduction::mean, Reduction::none}) {
            const FusedTokenDivergence options{.soft = {.form = form,
                                                        .beta = 0.3,
                                                        .temperature = 1.5,
                                                        .t_squared = false,
                                                        .reduction = reduction},
                                               .tokens_per_chunk = 3};
            agrees_with_unfused(student, teacher, teacher_logits, labels, options);
            agrees_with_unfused(student, retort::functional::sparse_teacher(teacher_logits, 3, 1.5),
                                teacher_logits, labels, options);
        }
    }
}

TEST_CASE("fused_token_divergence keeps the laws") {
    laws::Loss loss;
    loss.name = "fused_token_divergence";
    loss.reductions = {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum};
    loss.elements = 5;
    loss.never_negative = true;
    loss.any_class_order = false;  // dimension 1 is that of the hidden states
    loss.low_precision = 0.1;      // the logits themselves are rounded to 16 bits
    loss.sample = [](std::int64_t batch) {
        laws::Arguments result{.student = {random({batch, 5})}, .teacher = {random({batch, 5})}};
        result.learnable = {random({5, 5}), random({5})};
        result.target = torch::randint(5, {batch}, torch::kLong);
        return result;
    };
    for (const double hard_weight : {0.0, 0.5}) {
        loss.value = [=](const laws::Arguments& arguments, Reduction reduction) {
            return fused_token_divergence(ProjectedLogits{arguments.student.at(0), arguments.learnable.at(0),
                                                          arguments.learnable.at(1)},
                                          arguments.teacher.at(0), arguments.target,
                                          {.soft = {.temperature = 2.0, .reduction = reduction},
                                           .hard_weight = reduction == Reduction::mean ? 0.0 : hard_weight,
                                           .tokens_per_chunk = 3});
        };
        if (hard_weight > 0) loss.reductions = {Reduction::batchmean, Reduction::none, Reduction::sum};
        laws::hold(loss);
    }
}

TEST_CASE("fused_token_divergence computes the gradients that are required") {
    torch::manual_seed(3);
    const ProjectedLogits student{random({6, 4}), random({5, 4}), random({5})};
    const auto teacher = random({6, 5});
    const auto all = leaves(student);
    for (const Reduction reduction : {Reduction::batchmean, Reduction::none}) {
        const FusedTokenDivergence options{.soft = {.reduction = reduction}, .tokens_per_chunk = 4};
        const auto expected = gradients(fused_token_divergence(all, teacher, {}, options).sum(), all);
        for (int only = 0; only < 3; ++only) {
            ProjectedLogits some{student.hidden.clone(), student.weight.clone(), student.bias.clone()};
            const auto leaf = (only == 0   ? some.hidden
                               : only == 1 ? some.weight
                                           : some.bias)
                                  .requires_grad_();
            const auto value = fused_token_divergence(some, teacher, {}, options).sum();
            CHECK(close(torch::autograd::grad({value}, {leaf}).at(0),
                        expected.at(static_cast<std::size_t>(only)), 1e-12));
        }
        const torch::NoGradGuard guard;
        CHECK_FALSE(fused_token_divergence(all, teacher, {}, options).requires_grad());
    }
    // The teacher's side is constant.
    const auto taught = random({6, 5}).requires_grad_();
    const auto value = fused_token_divergence(all, ProjectedLogits{taught, random({5, 5}).requires_grad_()});
    CHECK_FALSE(
        torch::autograd::grad({value}, {all.hidden, taught}, {}, c10::nullopt, false, true).at(1).defined());
}

TEST_CASE("fused_token_divergence can be differentiated twice over the same graph, but not to second order") {
    torch::manual_seed(4);
    const auto teacher = random({6, 5});
    for (const Reduction reduction : {Reduction::batchmean, Reduction::none}) {
        const auto student = leaves({random({6, 4}), random({5, 4})});
        const auto value = fused_token_divergence(student, teacher, {},
                                                  {.soft = {.reduction = reduction}, .tokens_per_chunk = 2})
                               .sum();
        const auto first = torch::autograd::grad({2 * value}, {student.weight}, {}, true).at(0).clone();
        const auto second = torch::autograd::grad({value}, {student.weight}).at(0);
        CHECK(close(first, 2 * second, 1e-12));
        const auto other =
            fused_token_divergence(student, teacher, {}, {.soft = {.reduction = reduction}}).sum();
        CHECK_THROWS_AS(torch::autograd::grad({other}, {student.weight}, {}, true, /*create_graph=*/true),
                        retort::ConfigError);
    }
}

TEST_CASE("fused_token_divergence never materializes the logits of the batch") {
    constexpr std::int64_t tokens = 256, width = 16, words = 2048;
    torch::manual_seed(5);
    const auto student = leaves({torch::randn({tokens, width}), torch::randn({words, width})});
    const ProjectedLogits teacher{torch::randn({tokens, 8}), torch::randn({words, 8})};
    const auto labels = torch::randint(words, {tokens}, torch::kLong);
    constexpr std::int64_t logits = tokens * words * 4, chunk = 16, of_chunk = logits / tokens * chunk;
    for (const Reduction reduction : {Reduction::batchmean, Reduction::none}) {
        for (const Form form : {Form::forward, Form::jensen_shannon}) {
            AllocationCount count;
            fused_token_divergence(student, teacher, labels,
                                   {.soft = {.form = form, .reduction = reduction},
                                    .hard_weight = 0.5,
                                    .tokens_per_chunk = chunk})
                .sum()
                .backward();
            // Two chunks of logits, the working memory of a part of one, and the gradients (twice for a
            // moment).
            const std::int64_t of_gradients = 2 * 4 * width * (tokens + words);
            CHECK(count.largest() <= of_chunk);
            CHECK(count.peak() <= 10 * of_chunk + of_gradients);
            CHECK(count.peak() < logits);
            student.hidden.mutable_grad().reset();
            student.weight.mutable_grad().reset();
        }
    }
    // The measurement detects them where they are materialized.
    AllocationCount count;
    token_divergence(multiplied_out(student), multiplied_out(teacher), labels).backward();
    CHECK(count.largest() == logits);
    CHECK(count.peak() >= 3 * logits);
}

TEST_CASE("fused_token_divergence accumulates the gradient of 16-bit projections in float32") {
    torch::manual_seed(6);
    const auto low = [](const torch::Tensor& t) { return t.to(torch::kBFloat16); };
    const ProjectedLogits rounded{low(random({64, 8})), low(random({7, 8})), low(random({7}))};
    const auto teacher = low(random({64, 7}));
    const auto exact = [](const torch::Tensor& t) { return t.to(torch::kFloat64); };
    const auto student = leaves(rounded);
    const auto reference = leaves({exact(rounded.hidden), exact(rounded.weight), exact(rounded.bias)});
    const auto value = fused_token_divergence(student, teacher, {}, {.tokens_per_chunk = 1});
    const auto expected = fused_token_divergence(reference, exact(teacher));
    CHECK(value.scalar_type() == torch::kFloat32);
    CHECK(close(exact(value), expected, 2e-2));
    const auto slopes = gradients(value, student), expected_slopes = gradients(expected, reference);
    for (std::size_t i = 0; i < slopes.size(); ++i) {
        CHECK(slopes[i].scalar_type() == torch::kBFloat16);
        CHECK(close(exact(slopes[i]), expected_slopes[i], 0,
                    2e-2 * expected_slopes[i].abs().max().item<double>()));
    }
}

TEST_CASE("fused_token_divergence is zero with zero gradient if no token counts, whatever the contents") {
    const auto student = leaves({random({4, 3}), random({5, 3})});
    auto teacher = random({4, 5});
    teacher[1].fill_(std::numeric_limits<double>::quiet_NaN());
    const auto labels = torch::full({4}, -100, torch::kLong);
    for (const Reduction reduction : {Reduction::batchmean, Reduction::sum, Reduction::none}) {
        const auto value = fused_token_divergence(student, teacher, labels,
                                                  {.soft = {.reduction = reduction}, .hard_weight = 1.0})
                               .sum();
        CHECK(value.item<double>() == 0);
        for (const auto& each : gradients(value, student)) CHECK(same(each, torch::zeros_like(each)));
    }
}

TEST_CASE("fused_token_divergence with a soft weight of 0 is cross-entropy, and does not need the teacher") {
    torch::manual_seed(7);
    const auto student = leaves({random({6, 4}), random({5, 4})});
    const auto labels = torch::tensor({0, 1, -100, 3, 4, 2}, torch::kLong);
    const auto nothing = torch::full({6, 5}, std::numeric_limits<double>::quiet_NaN(), torch::kFloat64);
    const auto value = fused_token_divergence(student, nothing, labels, {.soft_weight = 0, .hard_weight = 2});
    const auto expected = 2 * torch::cross_entropy_loss(multiplied_out(student), labels);
    CHECK(close(value, expected, 1e-12));
    const auto slopes = gradients(value, student), expected_slopes = gradients(expected, student);
    CHECK(close(slopes[0], expected_slopes[0], 1e-11, 1e-13));
    CHECK(close(slopes[1], expected_slopes[1], 1e-11, 1e-13));
}

TEST_CASE("fused_token_divergence refuses mismatches") {
    using retort::ConfigError;
    using retort::ShapeError;
    const ProjectedLogits student{random({4, 3}), random({5, 3})};
    const auto labels = torch::zeros({4}, torch::kLong);
    const auto teacher = random({4, 5});
    CHECK_THROWS_WITH(
        fused_token_divergence(student, random({4, 6})),
        "fused_token_divergence: expected one vocabulary, found 5 words of the student's and 6 of the "
        "teacher's");
    CHECK_THROWS_AS(fused_token_divergence(student, ProjectedLogits{random({4, 3}), random({6, 3})}),
                    ShapeError);
    CHECK_THROWS_WITH(
        fused_token_divergence({random({4, 2}), random({5, 3})}, teacher),
        "fused_token_divergence: expected the student's projection of shape [vocabulary, 2] for hidden "
        "states [4, 2], found [5, 3]");
    CHECK_THROWS_AS(fused_token_divergence({random({4, 3}), random({5, 3}), random({4})}, teacher),
                    ShapeError);
    CHECK_THROWS_AS(fused_token_divergence({random({4, 3}).to(torch::kFloat32), random({5, 3})}, teacher),
                    ShapeError);
    CHECK_THROWS_AS(fused_token_divergence({random({4, 3}), torch::Tensor()}, teacher), ShapeError);
    CHECK_THROWS_AS(fused_token_divergence(student, random({3, 5})), ShapeError);
    CHECK_THROWS_AS(fused_token_divergence(student, ProjectedLogits{random({3, 3}), random({5, 3})}),
                    ShapeError);
    CHECK_THROWS_AS(fused_token_divergence(student, teacher, {}, {.hard_weight = 1}), ShapeError);
    CHECK_THROWS_WITH(
        fused_token_divergence(student, teacher, labels + 5, {.hard_weight = 1}),
        "fused_token_divergence: expected labels in [0, 5) or -100 (ignored), found 5 at token 0");
    CHECK_THROWS_AS(fused_token_divergence(student, teacher, labels, {.soft_weight = -1}), ConfigError);
    CHECK_THROWS_AS(fused_token_divergence(student, teacher, labels, {.hard_weight = -1}), ConfigError);
    CHECK_THROWS_AS(fused_token_divergence(student, teacher, labels, {.tokens_per_chunk = -1}), ConfigError);
    CHECK_THROWS_AS(fused_token_divergence(student, teacher, labels, {.soft = {.temperature = 0}}),
                    ConfigError);
}

namespace {
struct StudentOutputs {
    ProjectedLogits projected_logits;
};
struct OtherOutputs {
    torch::Tensor hidden, weight;
    friend ProjectedLogits projected_logits(const OtherOutputs& outputs) {
        return {outputs.hidden, outputs.weight};
    }
};
struct SparseOutputs {
    SparseTeacher sparse_teacher;
};
}  // namespace

TEST_CASE("fused_token_divergence as a term finds its parts among the outputs") {
    torch::manual_seed(8);
    const StudentOutputs student{{random({4, 3}), random({5, 3})}};
    const OtherOutputs teacher{random({4, 2}), random({5, 2})};
    const auto teacher_logits = teacher.hidden.matmul(teacher.weight.t());
    const auto sparse = retort::functional::sparse_teacher(teacher_logits, 5);
    const auto labels = torch::tensor({0, -100, 1, 2}, torch::kLong);
    const std::pair batch{torch::Tensor(), labels};
    const FusedTokenDivergence term{.hard_weight = 0.5};
    const auto expected = fused_token_divergence(student.projected_logits, teacher_logits, labels, term);
    CHECK(close(term(student, teacher, batch), expected, 1e-12));
    CHECK(close(term(student, laws::Outputs{teacher_logits}, batch), expected, 1e-12));
    CHECK(close(term(student, sparse, batch), expected, 1e-12));
    CHECK(close(term(student, SparseOutputs{sparse}, batch), expected, 1e-12));
    CHECK(close(term(student.projected_logits, teacher, batch), expected, 1e-12));
    const FusedTokenDivergence soft{};
    CHECK(close(soft(student, teacher, torch::Tensor()),
                fused_token_divergence(student.projected_logits, teacher_logits), 1e-12));
}

}  // namespace fused_token_divergence_test
