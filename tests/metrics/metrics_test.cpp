// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/metrics.hpp>

namespace metrics_test {

using namespace retort::metrics;
using retort::ConfigError;
using retort::DataError;
using retort::ShapeError;
using retort_test::close;
using retort_test::same;

namespace {

static_assert(StudentMetric<Accuracy> && StudentMetric<TopK> && StudentMetric<Confusion>);
static_assert(StudentMetric<CalibrationError> && TeacherMetric<Agreement>);
static_assert(!StudentMetric<Agreement> && !TeacherMetric<Accuracy> && Metric<Agreement> && !Metric<int>);

torch::Tensor ints(std::vector<std::int64_t> values) { return torch::tensor(values, torch::kInt64); }

/// Five samples of three classes; the largest logits are of classes 0, 2, 1, 1, 2.
torch::Tensor five() {
    return torch::tensor(
        {{3.0, 1.0, 2.0}, {-1.0, 0.0, 5.0}, {0.0, 2.0, 1.0}, {1.0, 4.0, 3.0}, {0.0, -2.0, 0.5}},
        torch::kFloat32);
}

template <class M>
void update(M& metric, const torch::Tensor& logits, const torch::Tensor& target) {
    if constexpr (M::needs_teacher) {
        metric.update(logits, target, logits.flip({0}));
    } else {
        metric.update(logits, target);
    }
}

/// Runs `test` on a fresh metric of each kind.
template <class Test>
void for_each_metric(Test&& test) {
    test(Accuracy{});
    test(TopK{.k = 2});
    test(Confusion{});
    test(CalibrationError{});
    test(Agreement{});
}

template <class Exception, class Action>
std::string message_of(Action&& action) {
    try {
        action();
    } catch (const Exception& error) {
        return error.what();
    } catch (const std::exception& error) {
        return std::string("another exception: ") + error.what();
    }
    return "no exception";
}
using Catch::Contains;

}  // namespace

TEST_CASE("Accuracy, computed manually") {
    Accuracy metric;
    metric.update(five(), ints({0, 2, 0, 1, 0}));
    CHECK(metric.value() == 0.6);
    CHECK(metric.name() == "accuracy");
    metric.reset();
    metric.update(five().narrow(0, 0, 1), ints({1}));
    CHECK(metric.value() == 0.0);
}

TEST_CASE("Top-k, computed manually") {
    // The targets are at places 1, 2, 3, 1 and 2 of their rows.
    const auto target = ints({0, 1, 0, 1, 0});
    const std::vector<double> expected{0.4, 0.8, 1.0};
    for (std::int64_t k = 1; k <= 3; ++k) {
        TopK metric{.k = k};
        metric.update(five(), target);
        CHECK(metric.value() == expected[static_cast<std::size_t>(k - 1)]);
        CHECK(metric.name() == "top" + std::to_string(k));
    }
}

TEST_CASE("The first of equal logits counts as the largest") {
    const auto equal = torch::zeros({4, 4});
    const auto target = ints({0, 1, 2, 3});
    Accuracy accuracy;
    accuracy.update(equal, target);
    CHECK(accuracy.value() == 0.25);
    for (std::int64_t k = 1; k <= 4; ++k) {
        TopK metric{.k = k};
        metric.update(equal, target);
        CHECK(metric.value() == 0.25 * static_cast<double>(k));
    }
    Confusion confusion;
    confusion.update(equal, target);
    CHECK(confusion.matrix().select(1, 0).sum().item<std::int64_t>() == 4);
}

TEST_CASE("The confusion matrix, computed manually") {
    Confusion metric;
    metric.update(five(), ints({0, 2, 0, 1, 1}));
    CHECK(same(metric.matrix(), ints({1, 1, 0, 0, 1, 1, 0, 0, 1}).view({3, 3})));
    CHECK(close(metric.recall(), torch::tensor({0.5, 0.5, 1.0}, torch::kFloat64)));
    CHECK(close(metric.precision(), torch::tensor({1.0, 0.5, 0.5}, torch::kFloat64)));
    CHECK(std::abs(metric.value() - 2.0 / 3.0) < 1e-12);
    CHECK(metric.name() == "balanced_accuracy");
}

TEST_CASE("Classes that do not occur have no recall, classes that are never predicted no precision") {
    Confusion metric;
    metric.update(torch::tensor({{1.0, 0.0, 0.0}, {1.0, 0.0, 0.0}, {0.0, 0.0, 1.0}}), ints({0, 1, 0}));
    const auto recall = metric.recall();
    CHECK(recall[0].item<double>() == 0.5);
    CHECK(recall[1].item<double>() == 0.0);
    CHECK(std::isnan(recall[2].item<double>()));
    const auto precision = metric.precision();
    CHECK(precision[0].item<double>() == 0.5);
    CHECK(std::isnan(precision[1].item<double>()));
    CHECK(precision[2].item<double>() == 0.0);
    CHECK(metric.value() == 0.25);
}

TEST_CASE("The calibration error, computed manually") {
    // Probabilities 0.9, 0.7, 0.65, 0.3 (of four classes) fall into the bins (0.8, 1], (0.6, 0.8] twice,
    // (0.2, 0.4].
    const auto row = [](std::vector<double> probabilities) {
        return torch::tensor(probabilities, torch::kFloat64).log();
    };
    const auto logits = torch::stack({row({0.9, 0.1 / 3, 0.1 / 3, 0.1 / 3}), row({0.1, 0.7, 0.1, 0.1}),
                                      row({0.15, 0.1, 0.65, 0.1}), row({0.3, 0.24, 0.23, 0.23})});
    CalibrationError metric{.bins = 5};
    metric.update(logits, ints({1, 1, 2, 0}));
    // |0 - 0.9| + |2 - 1.35| + |1 - 0.3|, over 4.
    CHECK(std::abs(metric.value() - (0.9 + 0.65 + 0.7) / 4) < 1e-12);
    CHECK(metric.name() == "calibration_error");
    // One bin: the mean confidence against the accuracy.
    CalibrationError one{.bins = 1};
    one.update(logits, ints({1, 1, 2, 0}));
    CHECK(std::abs(one.value() - std::abs(0.75 - (0.9 + 0.7 + 0.65 + 0.3) / 4)) < 1e-12);
}

TEST_CASE("A confidence on the boundary of two bins belongs to the lower one") {
    // Two equal logits: a confidence of exactly 0.5, the upper end of the first of two bins.
    CalibrationError metric{.bins = 2};
    metric.update(torch::tensor({{0.0, 0.0}, {0.0, 3.0}}, torch::kFloat64), ints({1, 1}));
    const double high = 1.0 / (1.0 + std::exp(-3.0));
    // In one bin the errors would cancel: |(0 - 0.5) + (1 - high)|.
    CHECK(std::abs(metric.value() - (0.5 + (1.0 - high)) / 2) < 1e-12);
}

TEST_CASE("Agreement, computed manually, whatever the targets") {
    Agreement metric;
    const auto teacher =
        torch::tensor({{1.0, 0.0, 0.0}, {1.0, 0.0, 0.0}, {0.0, 9.0, 0.0}, {0.0, 0.0, 9.0}, {0.0, 0.0, 1.0}});
    metric.update(five(), ints({7, 7, 7, 7, 7}), teacher);
    CHECK(metric.value() == 0.6);
    metric.reset();
    metric.update(five(), {}, five());
    CHECK(metric.value() == 1.0);
}

TEST_CASE("Metrics over many batches equal loops over all samples") {
    torch::manual_seed(GENERATE(1U, 2U, 3U));
    const auto type = GENERATE(torch::kFloat32, torch::kFloat64, torch::kHalf, torch::kBFloat16);
    const std::int64_t classes = 7;
    const auto logits = (3 * torch::randn({200, classes})).to(type);
    const auto teacher = (3 * torch::randn({200, classes})).to(type);
    const auto target = torch::randint(classes, {200}, torch::kInt64);
    Accuracy accuracy;
    TopK top3{.k = 3};
    Confusion confusion;
    CalibrationError calibration;
    Agreement agreement;
    for (std::int64_t start = 0, size = 1; start < 200;
         start += size, size = std::min<std::int64_t>(200 - start, size + 9)) {
        const auto rows = logits.narrow(0, start, size);
        const auto labels = target.narrow(0, start, size);
        accuracy.update(rows, labels);
        top3.update(rows, labels);
        confusion.update(rows, labels);
        calibration.update(rows, labels);
        agreement.update(rows, labels, teacher.narrow(0, start, size));
    }
    std::int64_t hits = 0;
    std::int64_t hits3 = 0;
    std::int64_t agreed = 0;
    auto matrix = torch::zeros({classes, classes}, torch::kInt64);
    std::vector<double> correct(15);
    std::vector<double> confident(15);
    const auto rows = logits.to(torch::kFloat64);
    for (std::int64_t i = 0; i < 200; ++i) {
        const auto at = [](const torch::Tensor& values, std::int64_t c) { return values[c].item<double>(); };
        const auto values = rows[i];
        const auto label = target[i].item<std::int64_t>();
        std::int64_t best = 0;
        std::int64_t teachers_best = 0;
        std::int64_t before = 0;
        double sum = 0.0;
        for (std::int64_t c = 0; c < classes; ++c) {
            if (at(values, c) > at(values, best)) best = c;
            if (at(teacher[i], c) > at(teacher[i], teachers_best)) teachers_best = c;
            if (at(values, c) > at(values, label) || (at(values, c) == at(values, label) && c < label))
                ++before;
        }
        for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(at(values, c) - at(values, best));
        hits += best == label;
        hits3 += before < 3;
        agreed += best == teachers_best;
        matrix[label][best] += 1;
        const auto bin = static_cast<std::size_t>(std::ceil(15.0 / sum) - 1);
        correct[bin] += best == label;
        confident[bin] += 1.0 / sum;
    }
    CHECK(accuracy.value() == static_cast<double>(hits) / 200);
    CHECK(top3.value() == static_cast<double>(hits3) / 200);
    CHECK(agreement.value() == static_cast<double>(agreed) / 200);
    CHECK(same(confusion.matrix(), matrix));
    double error = 0.0;
    for (std::size_t m = 0; m < 15; ++m) error += std::abs(correct[m] - confident[m]) / 200;
    CHECK(std::abs(calibration.value() - error) < 1e-6);
}

TEST_CASE("No update waits for the device, and none is recorded by autograd") {
    const auto logits = five().requires_grad_();
    const auto target = ints({0, 1, 2, 0, 1});
    for_each_metric([&](auto metric) {
        INFO(metric.name());
        update(metric, logits, target);
        retort_test::OperatorCount count;
        update(metric, logits, target);
        count.stop();
        CHECK(count.total() > 0);
        for (const auto* waiting : {"aten::_local_scalar_dense", "aten::item", "aten::nonzero",
                                    "aten::is_nonzero", "aten::_unique2", "aten::bincount"}) {
            INFO(waiting);
            CHECK(count.of(waiting) == 0);
        }
        // The host copies nothing before value(): all the copies are conversions on the device.
        if (count.of("aten::copy_") > 0) CHECK(logits.device() == target.device());
        CHECK(std::isfinite(metric.value()));
    });
    CHECK_FALSE(logits.grad().defined());
}

TEST_CASE("Metrics are values: a copy is independent") {
    const auto target = ints({0, 2, 1, 1, 2});
    for_each_metric([&](auto metric) {
        INFO(metric.name());
        update(metric, five(), target);
        const auto before = metric.value();
        auto copy = metric;
        update(copy, five(), ints({2, 1, 0, 0, 1}));
        CHECK(metric.value() == before);
        metric.reset();
        update(metric, five(), target);
        CHECK(metric.value() == before);
    });
}

TEST_CASE("Updates inside and outside of inference mode can be mixed") {
    const auto target = ints({0, 2, 1, 1, 2});
    for_each_metric([&](auto metric) {
        INFO(metric.name());
        {
            const c10::InferenceMode inference;
            update(metric, five(), target);
        }
        update(metric, five(), target);
        {
            const c10::InferenceMode inference;
            update(metric, five(), target);
        }
        auto once = metric;
        once.reset();
        update(once, five(), target);
        CHECK(std::abs(metric.value() - once.value()) < 1e-12);
    });
}

TEST_CASE("A batch of one and an empty batch are valid, without any samples there is no value") {
    for_each_metric([&](auto metric) {
        INFO(metric.name());
        CHECK_THAT(message_of<DataError>([&] { metric.value(); }),
                   Contains(metric.name()) && Contains("found none"));
        update(metric, torch::zeros({0, 3}), ints({}));
        CHECK_THAT(message_of<DataError>([&] { metric.value(); }), Contains("found none"));
        update(metric, torch::tensor({{0.0, 1.0, 0.0}}), ints({1}));
        update(metric, torch::zeros({0, 3}), ints({}));
        CHECK(metric.value() >= 0.0);
        CHECK(metric.value() <= 1.0);
    });
}

TEST_CASE("Targets out of range are an error when the value is read") {
    const std::int64_t wrong = GENERATE(std::int64_t{-1}, std::int64_t{3}, std::int64_t{-101},
                                        std::numeric_limits<std::int64_t>::max());
    for_each_metric([&](auto metric) {
        if constexpr (!decltype(metric)::needs_teacher) {
            INFO(metric.name());
            update(metric, five(), ints({0, 1, wrong, 1, 2}));
            update(metric, five(), ints({0, 1, 2, 1, 2}));
            CHECK_THAT(message_of<DataError>([&] { metric.value(); }),
                       Contains(metric.name()) && Contains("1 of 10 outside"));
        }
    });
}

TEST_CASE("A row with a NaN is never correct, and invalidates metrics that it would make meaningless") {
    auto logits = five();
    logits[0][2] = std::numeric_limits<float>::quiet_NaN();
    logits[1][2] = std::numeric_limits<float>::quiet_NaN();
    const auto target = ints({0, 2, 1, 1, 2});
    Accuracy accuracy;
    accuracy.update(logits, target);
    CHECK(accuracy.value() == 0.6);
    for (std::int64_t k = 1; k <= 3; ++k) {
        TopK top{.k = k};
        top.update(logits, target);
        CHECK(top.value() == 0.6);
    }
    Agreement agreement;
    agreement.update(logits, target, logits);
    CHECK(agreement.value() == 0.6);
    Confusion confusion;
    confusion.update(logits, target);
    CHECK_THAT(message_of<DataError>([&] { confusion.value(); }), Contains("NaN in 2 of 5 rows"));
    CalibrationError calibration;
    calibration.update(logits, target);
    CHECK_THAT(message_of<DataError>([&] { calibration.value(); }), Contains("NaN in 2 of 5 rows"));
}

TEST_CASE("Among infinite logits there is a largest one") {
    const auto infinity = std::numeric_limits<float>::infinity();
    const auto logits = torch::tensor({{-infinity, 0.0F, -infinity}, {infinity, 0.0F, 1.0F}});
    Accuracy accuracy;
    accuracy.update(logits, ints({1, 0}));
    CHECK(accuracy.value() == 1.0);
    TopK top{.k = 1};
    top.update(logits, ints({1, 0}));
    CHECK(top.value() == 1.0);
}

TEST_CASE("Mismatched shapes and types are refused immediately") {
    const auto target = ints({0, 1, 2, 0, 1});
    for_each_metric([&](auto metric) {
        INFO(metric.name());
        const auto message = [&](const torch::Tensor& logits, const torch::Tensor& targets) {
            return message_of<ShapeError>([&] { update(metric, logits, targets); });
        };
        CHECK_THAT(message(five().flatten(), target), Contains(metric.name()) && Contains("[15]"));
        CHECK_THAT(message(five().unsqueeze(0), target), Contains("of shape [batch, classes]"));
        CHECK_THAT(message(five().to(torch::kInt64), target), Contains("Long"));
        CHECK_THAT(message(torch::zeros({5, 0}), target), Contains("[5, 0]"));
        if constexpr (!decltype(metric)::needs_teacher) {
            CHECK_THAT(message({}, target), Contains("undefined"));
            CHECK_THAT(message(five(), ints({0, 1})), Contains("5 targets") && Contains("[2]"));
            CHECK_THAT(message(five(), target.view({5, 1})), Contains("[5, 1]"));
            CHECK_THAT(message(five(), target.to(torch::kInt32)), Contains("Int"));
            CHECK_THAT(message(five(), {}), Contains("undefined"));
        }
    });
    Agreement agreement;
    CHECK_THAT(message_of<ShapeError>([&] { agreement.update(five(), target, five().narrow(1, 0, 2)); }),
               Contains("[5, 3]") && Contains("[5, 2]"));
    Confusion confusion;
    confusion.update(five(), target);
    CHECK_THAT(message_of<ShapeError>([&] { confusion.update(torch::zeros({5, 4}), target); }),
               Contains("as many classes as in the earlier batches"));
}

TEST_CASE("Options out of range are refused") {
    const auto target = ints({0, 1, 2, 0, 1});
    for (const std::int64_t k : {0, 4, -1}) {
        TopK metric{.k = k};
        CHECK_THAT(
            message_of<ConfigError>([&] { metric.update(five(), target); }),
            Contains("k from 1 to the number of classes, 3") && Contains("found " + std::to_string(k)));
    }
    CalibrationError metric{.bins = 0};
    CHECK_THAT(message_of<ConfigError>([&] { metric.update(five(), target); }),
               Contains("bin") && Contains("found 0"));
}

TEST_CASE("Metrics gather on the logits' device") {
    if (!torch::cuda::is_available()) {
        WARN("no CUDA device here: skipped");
        return;
    }
    const auto target = ints({0, 2, 1, 1, 0});
    for_each_metric([&](auto metric) {
        auto other = metric;
        update(metric, five(), target);
        update(other, five().cuda(), target.cuda());
        CHECK(std::abs(metric.value() - other.value()) < 1e-9);
        CHECK_THAT(message_of<ShapeError>([&] { update(other, five(), target); }),
                   Contains("where the earlier ones were"));
    });
}

}  // namespace metrics_test
