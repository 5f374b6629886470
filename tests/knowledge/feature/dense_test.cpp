// SPDX-License-Identifier: BSL-1.0
// Losses for dense prediction: channel-wise distillation, Pearson correlation, masked generation.
#include <retort_test.hpp>

#include <retort/knowledge/feature/channel_wise.hpp>
#include <retort/knowledge/feature/masked_generative.hpp>
#include <retort/knowledge/feature/pearson_correlation.hpp>

#include "outputs.hpp"

namespace dense_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;
using retort::Reduction;

TEST_CASE("channel_wise is the divergence over the positions, computed manually") {
    // One channel of two positions: the teacher's distribution is (1/4, 3/4), the student's (1/2, 1/2).
    const auto teacher = torch::tensor({{{std::log(1.0), std::log(3.0)}}}, torch::kFloat64);
    const auto student = torch::zeros({1, 1, 2}, torch::kFloat64);
    const double expected = 0.25 * std::log(0.5) + 0.75 * std::log(1.5);
    CHECK(functional::channel_wise(student, teacher).item<double>() == Approx(expected).epsilon(1e-12));
    // At T = 2 with twice the scores the distributions are the same.
    CHECK(functional::channel_wise(2 * student, 2 * teacher, {.temperature = 2}).item<double>() ==
          Approx(4 * expected).epsilon(1e-12));
    CHECK(functional::channel_wise(2 * student, 2 * teacher, {.temperature = 2, .t_squared = false})
              .item<double>() == Approx(expected).epsilon(1e-12));
}

TEST_CASE("channel_wise: the sum over the positions, divided by samples and channels") {
    const auto student = torch::randn({3, 4, 5, 6}, torch::kFloat64);
    const auto teacher = torch::randn({3, 4, 5, 6}, torch::kFloat64);
    const auto expected = torch::kl_div((student / 4).flatten(2).log_softmax(2),
                                        (teacher / 4).flatten(2).softmax(2), at::Reduction::Sum) *
                          16 / 12;
    CHECK(close(functional::channel_wise(student, teacher, {.temperature = 4}), expected, 1e-12));
    CHECK(close(
        functional::channel_wise(student, teacher, {.temperature = 4, .reduction = Reduction::batchmean}),
        expected * 4, 1e-12));
    retort::ChannelWise term{body, stage3};
    const auto batch = prepared(term, small(student), big(teacher));
    const auto found = message<retort::ShapeError>(
        [&] { term(small(student), big(torch::randn({3, 4, 5, 5}, torch::kFloat64)), batch); });
    CHECK(found.find("channel_wise(body->stage3)") != std::string::npos);
    CHECK(found.find("[3, 4, 5, 5]") != std::string::npos);
    CHECK_THROWS_AS(functional::channel_wise(student, teacher, {.temperature = 0}), retort::ConfigError);
}

TEST_CASE("pearson_correlation is 1 minus the mean correlation of the channels") {
    const auto student = torch::randn({3, 4, 5, 6}, torch::kFloat64);
    const auto teacher = torch::randn({3, 4, 5, 6}, torch::kFloat64);
    const auto rows = [](const torch::Tensor& feature) {
        const auto flat = feature.transpose(0, 1).flatten(1);
        return flat - flat.mean(1, true);
    };
    const auto s = rows(student), t = rows(teacher);
    const auto correlation = (s * t).sum(1) / (s.norm(2, 1) * t.norm(2, 1));
    const double n = 3 * 5 * 6;
    CHECK(close(functional::pearson_correlation(student, teacher), (1 - correlation).mean() * ((n - 1) / n),
                1e-5));
    // Scale and offset of a channel do not matter.
    const auto scale = torch::rand({4, 1, 1}, torch::kFloat64) + 0.5;
    CHECK(close(functional::pearson_correlation(student * scale + 3, teacher),
                functional::pearson_correlation(student, teacher), 1e-5));
    CHECK(functional::pearson_correlation(teacher * scale - 1, teacher).item<double>() < 1e-10);
}

TEST_CASE("pearson_correlation resizes the student's map, or the teacher's") {
    const auto student = torch::randn({2, 3, 4, 4}), teacher = torch::randn({2, 3, 8, 8});
    const auto resized = torch::upsample_bilinear2d(student, {8, 8}, false);
    CHECK(close(functional::pearson_correlation(student, teacher),
                functional::pearson_correlation(resized, teacher)));
    const auto shrunk = torch::upsample_bilinear2d(teacher, {4, 4}, false);
    CHECK(close(functional::pearson_correlation(student, teacher, {.resize_student = false}),
                functional::pearson_correlation(student, shrunk)));
    CHECK_THROWS_AS(functional::pearson_correlation(torch::randn({2, 3}), torch::randn({2, 4})),
                    retort::ShapeError);
    CHECK_THROWS_AS(functional::pearson_correlation(student, teacher, {.epsilon = 0}), retort::ConfigError);
}

TEST_CASE("pearson_correlation: constant channels and single values have finite gradients") {
    auto student = torch::randn({2, 3, 4, 4});
    student.select(1, 1).fill_(2);
    student.requires_grad_();
    functional::pearson_correlation(student, torch::randn({2, 3, 4, 4})).backward();
    CHECK(student.grad().abs().max().item<float>() < 10);
    CHECK(student.grad().select(1, 1).abs().max().item<float>() == 0);
    const auto single = torch::randn({1, 3, 1, 1}).requires_grad_();
    functional::pearson_correlation(single, torch::randn({1, 3, 1, 1})).backward();
    CHECK(single.grad().isfinite().all().item<bool>());
}

TEST_CASE(
    "masked: removes whole positions or whole channels, with the given frequency, from the run's seed") {
    using Mask = retort::MaskedGenerativeOptions::Mask;
    const auto feature = torch::ones({64, 8, 16, 16});
    torch::manual_seed(5);
    const auto positions = functional::masked(feature);
    CHECK(same(positions.amax(1), positions.amin(1)));
    CHECK(positions.mean().item<double>() == Approx(0.35).margin(0.02));
    torch::manual_seed(5);
    CHECK(same(functional::masked(feature), positions));
    CHECK_FALSE(same(functional::masked(feature), positions));
    const auto channels = functional::masked(feature, retort::MaskedGenerativeOptions::classification());
    CHECK(same(channels.amax({2, 3}), channels.amin({2, 3})));
    CHECK(channels.mean().item<double>() == Approx(0.85).margin(0.06));
    CHECK(same(functional::masked(feature, {.mask = Mask::channels, .fraction = 0}), feature));
    CHECK_THROWS_AS(functional::masked(feature, {.fraction = 1}), retort::ConfigError);
}

TEST_CASE("MaskedGenerative is the squared distance of the generated feature, divided by the samples") {
    retort::MaskedGenerative term{body, stage3, retort::Conv1x1{}, {.fraction = 0}};
    const auto student = small(torch::randn({3, 2, 4, 4}, torch::kFloat64).requires_grad_());
    const auto teacher = big(torch::randn({3, 5, 4, 4}, torch::kFloat64));
    const auto batch = prepared(term, student, teacher);
    const auto parameters = term.module()->named_parameters();
    const auto connected = torch::conv2d(student.body, parameters["connector.convolution.weight"],
                                         parameters["connector.convolution.bias"]);
    const auto hidden =
        torch::conv2d(connected, parameters["first.weight"], parameters["first.bias"], 1, 1).relu();
    const auto made = torch::conv2d(hidden, parameters["second.weight"], parameters["second.bias"], 1, 1);
    const auto value = term(student, teacher, batch);
    CHECK(close(value, (made - teacher.stage3).pow(2).sum() / 3, 1e-12));
    value.backward();
    CHECK(parameters.size() == 6);
    for (const auto& each : parameters) CHECK(each.value().grad().abs().sum().item<double>() > 0);
    CHECK(student.body.grad().abs().sum().item<double>() > 0);
    retort::MaskedGenerative straight{body, stage3, retort::Identity{}};
    CHECK_THROWS_AS(
        [&] {
            const auto no_targets = prepared(straight, student, teacher);
            straight(student, teacher, no_targets);
        }(),
        retort::ShapeError);
}

}  // namespace dense_test
