// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/connector/mlp.hpp>
#include <retort/knowledge/relation/self_supervision.hpp>

#include <loss_laws.hpp>

namespace self_supervision_test {

using namespace retort_test;
using retort::Reduction;
namespace functional = retort::functional;

namespace {

using Row = std::vector<double>;

Row softmax(Row values, double temperature) {
    double sum = 0;
    for (double& each : values) sum += each = std::exp(each / temperature);
    for (double& each : values) each /= sum;
    return values;
}

double divergence(const Row& teacher, const Row& student, double temperature) {
    const Row p = softmax(teacher, temperature);
    const Row q = softmax(student, temperature);
    double sum = 0;
    for (std::size_t i = 0; i < p.size(); ++i) sum += p[i] * std::log(p[i] / q[i]);
    return sum;
}

std::vector<Row> rows_of(const torch::Tensor& matrix) {
    std::vector<Row> result;
    for (std::int64_t i = 0; i < matrix.size(0); ++i) {
        const auto row = matrix[i].contiguous();
        result.emplace_back(row.data_ptr<double>(), row.data_ptr<double>() + row.numel());
    }
    return result;
}

/// The paper's selection and mean, row by row.
double expected_loss(const std::vector<Row>& student, const std::vector<Row>& teacher,
                     const std::vector<std::size_t>& right, double temperature, double keep) {
    std::vector<std::pair<std::size_t, std::size_t>> ranked;  // rank of the correct choice, row
    std::size_t wrong = 0;
    for (std::size_t row = 0; row < teacher.size(); ++row) {
        std::size_t rank = 0;
        for (const double each : teacher[row]) rank += each > teacher[row][right[row]] ? 1 : 0;
        ranked.emplace_back(rank, row);
        wrong += rank > 0 ? 1 : 0;
    }
    std::sort(ranked.begin(), ranked.end());
    const std::size_t count =
        teacher.size() - wrong + static_cast<std::size_t>(std::floor(static_cast<double>(wrong) * keep));
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
        sum += divergence(teacher[ranked[i].second], student[ranked[i].second], temperature);
    }
    return temperature * temperature * sum / static_cast<double>(std::max<std::size_t>(count, 1));
}

std::vector<Row> cosines_of(const torch::Tensor& views, std::int64_t each) {
    std::vector<Row> result;
    for (std::int64_t i = 0; i < views.size(0); ++i) {
        if (i % each == 0) continue;
        Row row;
        for (std::int64_t j = 0; j < views.size(0); j += each) {
            row.push_back((views[i].dot(views[j]) / (views[i].norm() * views[j].norm())).item<double>());
        }
        result.push_back(row);
    }
    return result;
}

}  // namespace

TEST_CASE("self_supervision is the divergence of the counted views, one by one") {
    torch::manual_seed(11);
    for (const std::int64_t views : {2, 4}) {
        for (const double keep : {0.0, 0.5, 0.75, 1.0}) {
            const auto student = torch::randn({5 * views, 6}, torch::kFloat64);
            const auto teacher = torch::randn({5 * views, 3}, torch::kFloat64);
            std::vector<std::size_t> right;
            for (std::size_t i = 0; i < 5 * static_cast<std::size_t>(views - 1); ++i) {
                right.push_back(i / static_cast<std::size_t>(views - 1));
            }
            const double expected =
                expected_loss(cosines_of(student, views), cosines_of(teacher, views), right, 0.5, keep);
            const auto value = functional::self_supervision(student, teacher, {.views = views, .keep = keep});
            CHECK(std::abs(value.item<double>() - expected) < 1e-12);
        }
    }
}

TEST_CASE("transformed_target is the divergence of the counted views, one by one") {
    torch::manual_seed(12);
    const auto student = torch::randn({12, 5}, torch::kFloat64);
    const auto teacher = torch::randn({12, 5}, torch::kFloat64);
    const auto target = torch::tensor({4, 0, 2, 2});
    std::vector<std::size_t> right;
    for (const std::size_t each : {4U, 0U, 2U, 2U}) right.insert(right.end(), 3, each);
    for (const double keep : {0.0, 0.4, 1.0}) {
        const auto value = functional::transformed_target(student, teacher, target, {.keep = keep});
        CHECK(std::abs(value.item<double>() -
                       expected_loss(rows_of(student), rows_of(teacher), right, 4, keep)) < 1e-12);
    }
    const auto all = functional::transformed_target(student, teacher, target);
    const auto kl =
        torch::nn::functional::kl_div(torch::log_softmax(student / 4, 1), torch::softmax(teacher / 4, 1),
                                      torch::nn::functional::KLDivFuncOptions().reduction(torch::kBatchMean));
    CHECK(close(all, 16 * kl, 1e-12));
    CHECK_THROWS_AS(functional::transformed_target(student, teacher, torch::tensor({1, 2, 3, 4, 0})),
                    retort::ShapeError);
    CHECK_THROWS_AS(functional::transformed_target(student, teacher, target, {.reduction = Reduction::mean}),
                    retort::ConfigError);
}

TEST_CASE("view_recognition is cross-entropy with the view's own sample") {
    torch::manual_seed(13);
    const auto views = torch::randn({12, 6}, torch::kFloat64);
    double expected = 0;
    const auto cosines = cosines_of(views, 4);
    for (std::size_t row = 0; row < cosines.size(); ++row) {
        expected -= std::log(softmax(cosines[row], 1)[row / 3]) / static_cast<double>(cosines.size());
    }
    CHECK(std::abs(functional::view_recognition(views).item<double>() - expected) < 1e-12);
    CHECK_THROWS_AS(functional::view_recognition(torch::randn({10, 6})), retort::ShapeError);
    CHECK_THROWS_AS(functional::view_recognition(views, 1), retort::ConfigError);
}

TEST_CASE("laws: self_supervision") {
    laws::Loss loss;
    loss.name = "self_supervision";
    // A sample of the suite is one image with all its views: [batch, views, width].
    loss.value = [](const laws::Arguments& arguments, Reduction reduction) {
        const auto rows = [](const torch::Tensor& t) {
            return t.defined() && t.numel() > 0 ? t.reshape({-1, t.size(-1)}) : t;
        };
        return functional::self_supervision(rows(arguments.student.at(0)), rows(arguments.teacher.at(0)),
                                            {.views = 3, .reduction = reduction});
    };
    loss.sample = laws::random_features({3, 6}, {3, 5});
    loss.reductions = {Reduction::batchmean, Reduction::none};
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.equal_sizes = false;
    loss.any_class_order = false;
    // The order decides which of two views of equal rank counts.
    loss.any_sample_order = false;
    laws::hold(loss);
}

TEST_CASE("laws: transformed_target") {
    laws::Loss loss;
    loss.name = "transformed_target";
    loss.value = [](const laws::Arguments& arguments, Reduction reduction) {
        return functional::transformed_target(arguments.student.at(0), arguments.teacher.at(0),
                                              arguments.target, {.keep = 0.5, .reduction = reduction});
    };
    loss.sample = laws::random_logits();
    loss.reductions = {Reduction::batchmean, Reduction::none};
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.any_sample_order = false;
    laws::hold(loss);
}

TEST_CASE("laws: view_recognition") {
    laws::Loss loss;
    loss.name = "view_recognition";
    loss.value = [](const laws::Arguments& arguments, Reduction) {
        const auto& views = arguments.student.at(0);
        return functional::view_recognition(
            views.defined() && views.numel() > 0 ? views.reshape({-1, views.size(-1)}) : views, 3);
    };
    loss.sample = laws::without_teacher(laws::random_features({3, 6}, {1}));
    loss.never_negative = true;
    loss.any_class_order = false;
    laws::hold(loss);
}

TEST_CASE("terms of self-supervision train a head and name their taps") {
    struct Outputs {
        torch::Tensor views, logits;
    };
    torch::manual_seed(14);
    const Outputs student{torch::randn({8, 6}).requires_grad_(), torch::randn({6, 5}).requires_grad_()};
    const Outputs teacher{torch::randn({8, 4}), torch::randn({6, 5})};
    const std::pair<torch::Tensor, torch::Tensor> batch{torch::Tensor(), torch::tensor({1, 4})};
    const auto views = [](const Outputs& outputs) { return outputs.views; };
    const auto logits = [](const Outputs& outputs) { return outputs.logits; };

    retort::SelfSupervision term{views, views, retort::Mlp{.in = 6, .hidden = 6, .out = 6}};
    REQUIRE(term.prepared());
    term(student, teacher, batch).backward();
    CHECK(student.views.grad().abs().max().item<double>() > 0);
    for (const torch::Tensor& parameter : term.module()->parameters()) CHECK(parameter.grad().defined());
    CHECK_THROWS_AS(term(Outputs{torch::randn({7, 6}), {}}, Outputs{torch::randn({7, 4}), {}}, batch),
                    retort::ShapeError);

    const retort::TransformedTarget target{logits, logits};
    target(student, teacher, batch).backward();
    CHECK(student.logits.grad().abs().max().item<double>() > 0);
    try {
        target(Outputs{{}, torch::randn({5, 5})}, Outputs{{}, torch::randn({5, 5})}, batch);
        FAIL("no error");
    } catch (const retort::ShapeError& error) {
        CHECK(std::string(error.what()).starts_with(target.name() + ": expected"));
        CHECK(std::string(error.what()).find("[5, 5]") != std::string::npos);
    }
}

}  // namespace self_supervision_test
