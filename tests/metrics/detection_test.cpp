// SPDX-License-Identifier: BSL-1.0
#include <golden.hpp>
#include <retort_test.hpp>

#include <retort/metrics/detection.hpp>

namespace detection_test {

namespace golden = retort_test::golden;
using retort::metrics::detection;
using retort::metrics::DetectionOptions;

torch::Tensor scores(const std::vector<double>& values) { return torch::tensor(values, torch::kFloat64); }

/// A value in the nested dictionary of components.
double nested(const golden::Case& each, const std::string& key) { return each.component(key).item<double>(); }

TEST_CASE("detection: perfect, reversed, and all tied") {
    const auto perfect = detection(scores({1, 2, 3}), scores({4, 5}));
    CHECK(perfect.auroc == 1);
    CHECK(perfect.false_positive_rate == 0);
    CHECK(perfect.average_precision == 1);
    CHECK(perfect.precision_recall_area == 1);
    CHECK(detection(scores({4, 5}), scores({1, 2, 3})).auroc == 0);
    CHECK(detection(scores({1, 1}), scores({1, 1, 1})).auroc == 0.5);
    CHECK(detection(scores({1, 1}), scores({1, 1, 1})).false_positive_rate == 1);
}

TEST_CASE("detection: by ranks, so that large scores stay distinct") {
    const double inf = std::numeric_limits<double>::infinity();
    CHECK(detection(scores({1e8, 2e8}), scores({3e8, inf})).auroc == 1);
    CHECK(detection(scores({1e-300, -inf}), scores({2e-300})).auroc == 1);
}

TEST_CASE("detection: pytorch-ood") {
    // Its own numbers are those of float32 rates, and squashed scores where they saturate.
    for (const golden::Case& each : golden::cases("ood_metrics__pytorch_ood")) {
        INFO(each.name());
        const auto found = detection(each.input("scores_known"), each.input("scores_unknown"));
        if (each.name() != "large_1e3")
            CHECK(found.auroc == Approx(each.value().item<double>()).epsilon(1e-6));
        if (each.name() != "large_1e3") {
            CHECK(found.false_positive_rate == Approx(nested(each, "fpr95")).epsilon(1e-6));
            CHECK(found.precision_recall_area == Approx(nested(each, "aupr_unknown")).epsilon(1e-6));
        }
    }
}

TEST_CASE("detection: energy_ood, where the closest recall counts") {
    for (const golden::Case& each : golden::cases("ood_metrics__energy_ood")) {
        INFO(each.name());
        const auto found = detection(each.input("scores_known"), each.input("scores_unknown"));
        CHECK(found.auroc == Approx(each.value().item<double>()).epsilon(1e-12));
        CHECK(found.average_precision ==
              Approx(nested(each, "recall_0.95.out_positive.aupr")).epsilon(1e-12));
        for (const double recall : each.option_list("recall_levels")) {
            const auto closest = detection(each.input("scores_known"), each.input("scores_unknown"),
                                           {.recall = recall, .point = DetectionOptions::Point::closest});
            const std::string level = recall == 0.5 ? "recall_0.5" : "recall_0.95";
            INFO(level);
            CHECK(closest.false_positive_rate == Approx(nested(each, level + ".out_positive.f"
                                                                             "pr"))
                                                     .epsilon(1e-12));
        }
    }
}

TEST_CASE("detection: errors") {
    CHECK_THROWS_WITH(
        detection(scores({}), scores({1})),
        "detection: expected the scores of at least one known sample, of shape [samples], found [0]");
    CHECK_THROWS_WITH(detection(scores({1}), scores({1, std::nan("")})),
                      "detection: expected scores, found NaN for unknown sample 1");
    CHECK_THROWS_WITH(detection(scores({1}), scores({1}), {.recall = 0}),
                      "detection: expected a recall in (0, 1], found 0");
}

}  // namespace detection_test
