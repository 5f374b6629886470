// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/core/error.hpp>
#include <retort/knowledge/logit/sparse_teacher.hpp>
#include <retort/knowledge/logit/token_divergence.hpp>

#include <allocations.hpp>
#include <loss_laws.hpp>

namespace sparse_teacher_test {

using namespace retort_test;
using retort::Reduction;
using retort::SparseRest;
using retort::SparseTeacher;
using retort::TokenDivergence;
using retort::functional::sparse_teacher;
using retort::functional::token_divergence;
using Form = retort::TokenDivergence::Form;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::array all_forms{Form::forward,        Form::reverse,       Form::symmetric,
                               Form::jensen_shannon, Form::cross_entropy, Form::symmetric_cross_entropy};

torch::Tensor random(at::IntArrayRef sizes) { return 2 * torch::randn(sizes, torch::kFloat64); }
torch::Tensor gradient(const torch::Tensor& value, const torch::Tensor& leaf) {
    return torch::autograd::grad({value}, {leaf}).at(0);
}

}  // namespace

TEST_CASE("sparse_teacher keeps the most probable words and the mass of the rest") {
    torch::manual_seed(1);
    const auto logits = random({2, 3, 9});
    for (const double temperature : {1.0, 2.5}) {
        const auto teacher = sparse_teacher(logits, 4, temperature);
        const auto all = (logits / temperature).log_softmax(-1);
        REQUIRE(teacher.indices.sizes() == torch::IntArrayRef{2, 3, 4});
        REQUIRE(teacher.log_rest.sizes() == torch::IntArrayRef{2, 3});
        CHECK(close(teacher.log_probabilities, all.gather(-1, teacher.indices), 1e-12));
        CHECK(close(teacher.log_probabilities, std::get<0>(all.sort(-1, true)).slice(-1, 0, 4), 1e-12));
        CHECK(close(teacher.log_probabilities.exp().sum(-1) + teacher.log_rest.exp(),
                    torch::ones({2, 3}, torch::kFloat64), 1e-12));
        CHECK(teacher.temperature == temperature);
    }
    // Where 1 minus the rest rounds to 1 in float64, the rest's logarithm is still exact.
    auto sure = torch::zeros({1, 3}, torch::kFloat64);
    sure[0][1] = 100;
    CHECK(close(sparse_teacher(sure, 1).log_rest, torch::full({1}, std::log(2.0) - 100, torch::kFloat64),
                1e-12));
    CHECK(sparse_teacher(sure, 3).log_rest.item<double>() == -infinity);
    CHECK(sparse_teacher(sure.to(torch::kBFloat16), 1).log_probabilities.scalar_type() == torch::kFloat32);
    CHECK_THROWS_AS(sparse_teacher(sure, 0), retort::ShapeError);
    CHECK_THROWS_AS(sparse_teacher(sure, 4), retort::ShapeError);
    CHECK_THROWS_AS(sparse_teacher(sure[0], 1), retort::ShapeError);
    CHECK_THROWS_AS(sparse_teacher(sure, 1, 0.0), retort::ConfigError);
}

TEST_CASE("token_divergence of a sparse teacher keeps the laws") {
    for (const SparseRest rest : {SparseRest::bucket, SparseRest::uniform, SparseRest::renormalized}) {
        for (const Form form : all_forms) {
            const bool from_student =
                form != Form::forward && form != Form::cross_entropy && form != Form::jensen_shannon;
            // The student's probability of impossible words makes these infinite.
            if (rest == SparseRest::renormalized && from_student) continue;
            INFO("rest " << static_cast<int>(rest) << ", form " << static_cast<int>(form));
            laws::Loss loss;
            loss.name = "token_divergence of a sparse_teacher";
            loss.value = [=](const laws::Arguments& arguments, Reduction reduction) {
                return token_divergence(
                    arguments.student.at(0), sparse_teacher(arguments.teacher.at(0), 2, 2.0),
                    arguments.target,
                    {.form = form, .temperature = 2.0, .reduction = reduction, .rest = rest});
            };
            loss.sample = laws::random_logits(6);
            loss.reductions = {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum};
            loss.elements = 6;
            loss.never_negative = true;
            loss.zero_at_equality = rest == SparseRest::bucket && form != Form::cross_entropy &&
                                    form != Form::symmetric_cross_entropy;
            // The 16-bit types of this test round the teacher before the words are chosen; ties may go either
            // way.
            loss.equal_sizes = true;
            laws::hold(loss);
        }
    }
}

TEST_CASE("A sparse teacher of all words is the teacher itself") {
    torch::manual_seed(2);
    const auto logits = random({4, 6});
    const auto labels = torch::tensor({1, -100, 2, 3}, torch::kLong);
    for (const SparseRest rest : {SparseRest::bucket, SparseRest::uniform, SparseRest::renormalized}) {
        for (const Form form : all_forms) {
            for (const bool known : {true, false}) {
                INFO("rest " << static_cast<int>(rest) << ", form " << static_cast<int>(form));
                auto teacher = sparse_teacher(logits, 6, 2.0);
                if (!known) teacher.log_rest = torch::Tensor();
                const TokenDivergence options{.form = form, .temperature = 2.0, .rest = rest};
                const auto student = random({4, 6}).requires_grad_();
                const auto found = token_divergence(student, teacher, labels, options);
                const auto expected = token_divergence(student, logits, labels, options);
                // Without the rest's logarithm, rounding leaves about 1e-16 for it.
                CHECK(close(found, expected, known ? 1e-12 : 1e-9));
                CHECK(close(gradient(found, student), gradient(expected, student), 1e-9, 1e-12));
            }
        }
    }
}

TEST_CASE("The rest as a bucket is one event of both distributions") {
    torch::manual_seed(3);
    const auto logits = random({5, 8});
    const auto teacher = sparse_teacher(logits, 3);
    const auto student = random({5, 8}).requires_grad_();
    const auto others = torch::ones({5, 8}, torch::kBool).scatter(1, teacher.indices, false);
    const auto coarse = [&](const torch::Tensor& z) {
        const auto p = z.softmax(1);
        return torch::cat({p.gather(1, teacher.indices), (p * others).sum(1, true)}, 1).log();
    };
    for (const Form form : all_forms) {
        const TokenDivergence options{.form = form, .beta = 0.3};
        const auto found = token_divergence(student, teacher, {}, options);
        const auto expected = token_divergence(coarse(student), coarse(logits), {}, options);
        CHECK(close(found, expected, 1e-12));
        CHECK(close(gradient(found, student), gradient(expected, student), 1e-10, 1e-13));
        // Based only on what is known of the teacher: never more than the divergence of the whole.
        if (form == Form::cross_entropy || form == Form::symmetric_cross_entropy) continue;
        CHECK(found.item<double>() <= token_divergence(student, logits, {}, options).item<double>() + 1e-12);
    }
    SparseTeacher without = teacher;
    without.log_rest = torch::Tensor();
    CHECK(close(token_divergence(student, without), token_divergence(student, teacher), 1e-10));
    // An impossible rest on the student's side.
    auto sure = student.detach().masked_fill(others, -infinity).requires_grad_();
    const auto value = token_divergence(sure, teacher, {}, {.form = Form::reverse});
    CHECK(std::isfinite(value.item<double>()));
    const auto slope = gradient(value, sure);
    CHECK(torch::isfinite(slope).all().item<bool>());
    CHECK(slope.masked_select(others).abs().sum().item<double>() == 0);
}

TEST_CASE("The rest spread uniformly is a dense teacher with equal other words") {
    torch::manual_seed(4);
    const auto logits = random({5, 8});
    const auto teacher = sparse_teacher(logits, 3);
    const auto p = logits.softmax(1);
    const auto others = torch::ones({5, 8}, torch::kBool).scatter(1, teacher.indices, false);
    const auto rest = (p * others).sum(1, true) / 5;
    const auto dense = torch::where(others, rest.expand({5, 8}), p).log();
    const auto student = random({5, 8}).requires_grad_();
    for (const Form form : all_forms) {
        const TokenDivergence options{.form = form, .beta = 0.3, .rest = SparseRest::uniform};
        const auto found = token_divergence(student, teacher, {}, options);
        const auto expected = token_divergence(student, dense, {}, options);
        CHECK(close(found, expected, 1e-12));
        CHECK(close(gradient(found, student), gradient(expected, student), 1e-11, 1e-13));
    }
}

TEST_CASE("The rest renormalized is a dense teacher without the other words") {
    torch::manual_seed(5);
    const auto logits = random({5, 8});
    const auto teacher = sparse_teacher(logits, 3);
    const auto others = torch::ones({5, 8}, torch::kBool).scatter(1, teacher.indices, false);
    const auto dense = logits.masked_fill(others, -infinity);
    const auto student = random({5, 8}).requires_grad_();
    for (const Form form : {Form::forward, Form::jensen_shannon, Form::cross_entropy}) {
        const TokenDivergence options{.form = form, .rest = SparseRest::renormalized};
        const auto found = token_divergence(student, teacher, {}, options);
        const auto expected = token_divergence(student, dense, {}, options);
        CHECK(close(found, expected, 1e-12));
        CHECK(close(gradient(found, student), gradient(expected, student), 1e-11, 1e-13));
    }
    CHECK(token_divergence(student, teacher, {}, {.form = Form::reverse, .rest = SparseRest::renormalized})
              .item<double>() == infinity);
}

TEST_CASE("A sparse teacher of sequences, in 16 bits, and with arbitrary contents of ignored tokens") {
    torch::manual_seed(6);
    const auto logits = random({2, 3, 8}), student = random({2, 3, 8});
    const auto labels = torch::tensor({{1, -100, 2}, {-100, 0, 4}}, torch::kLong);
    auto teacher = sparse_teacher(logits, 3);
    const auto expected = token_divergence(student, teacher, labels, {.reduction = Reduction::none});
    REQUIRE(expected.sizes() == torch::IntArrayRef{2, 3});
    CHECK(close(token_divergence(student, teacher, labels), expected.sum() / 4, 1e-12));
    auto low = teacher;
    low.log_probabilities = low.log_probabilities.to(torch::kBFloat16);
    low.log_rest = low.log_rest.to(torch::kBFloat16);
    CHECK(close(token_divergence(student, low, labels), expected.sum() / 4, 2e-2));
    teacher.indices[0][1].fill_(-1);
    teacher.indices[1][0].fill_(99);
    teacher.log_probabilities[0][1].fill_(std::numeric_limits<double>::quiet_NaN());
    const auto leaf = student.clone().requires_grad_();
    const auto found = token_divergence(leaf, teacher, labels, {.reduction = Reduction::none});
    CHECK(same(found, expected));
    CHECK(torch::isfinite(gradient(found.sum(), leaf)).all().item<bool>());
}

TEST_CASE("A sparse teacher needs one tensor of the logits' size: the gradient") {
    constexpr std::int64_t tokens = 512, words = 4096, size = tokens * words * 4;
    torch::manual_seed(7);
    const auto student = torch::randn({tokens, words}).requires_grad_();
    const auto teacher = sparse_teacher(torch::randn({tokens, words}), 16);
    for (const SparseRest rest : {SparseRest::bucket, SparseRest::uniform}) {
        AllocationCount count;
        token_divergence(student, teacher, {}, {.rest = rest}).backward();
        CHECK(count.largest() == size);
        CHECK(count.peak() <= size * 2);
        student.mutable_grad().reset();
    }
}

TEST_CASE("token_divergence refuses a mismatched sparse teacher") {
    using retort::ShapeError;
    const auto student = random({2, 6});
    const auto teacher = sparse_teacher(random({2, 6}), 2);
    const auto with = [&](auto change) {
        SparseTeacher changed = teacher;
        changed.indices = changed.indices.clone();
        change(changed);
        return changed;
    };
    CHECK_THROWS_WITH(token_divergence(student, with([](SparseTeacher& t) { t.indices[1][0] = 6; })),
                      "token_divergence: expected the teacher's words in [0, 6), found 6 at token 1");
    CHECK_THROWS_AS(token_divergence(student, with([](SparseTeacher& t) { t.indices[1][0] = -1; })),
                    ShapeError);
    CHECK_THROWS_WITH(
        token_divergence(student, with([](SparseTeacher& t) { t.indices[0].fill_(3); })),
        "token_divergence: expected each of the teacher's words once, found 3 twice at token 0");
    CHECK_THROWS_AS(
        token_divergence(student, with([](SparseTeacher& t) { t.indices = t.indices.to(torch::kInt); })),
        ShapeError);
    CHECK_THROWS_AS(
        token_divergence(student, with([](SparseTeacher& t) { t.log_probabilities = t.indices; })),
        ShapeError);
    CHECK_THROWS_AS(token_divergence(student, with([](SparseTeacher& t) { t.indices = torch::Tensor(); })),
                    ShapeError);
    CHECK_THROWS_AS(
        token_divergence(student, with([](SparseTeacher& t) { t.log_rest = t.log_probabilities; })),
        ShapeError);
    CHECK_THROWS_AS(token_divergence(random({3, 6}), teacher), ShapeError);
    CHECK_THROWS_AS(token_divergence(random({2, 1}), teacher), ShapeError);
    CHECK_THROWS_WITH(
        token_divergence(student, teacher, {}, {.temperature = 2.0}),
        "token_divergence: expected a sparse teacher taken at the temperature 2 of the loss, found one "
        "taken at 1");
}

}  // namespace sparse_teacher_test
