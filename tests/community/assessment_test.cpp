// SPDX-License-Identifier: BSL-1.0
#include <golden.hpp>
#include <retort_test.hpp>

#include <retort/community/calibration.hpp>
#include <retort/community/energy.hpp>
#include <retort/community/mahalanobis.hpp>

namespace assessment_test {

namespace golden = retort_test::golden;
using namespace retort::community;
using retort_test::close;
using Options = MahalanobisOptions;

TEST_CASE("energy: pytorch-ood, energy_ood") {
    for (const golden::Case& each : golden::cases("energy__pytorch_ood")) {
        const torch::Tensor logits = each.leaf("logits");
        const torch::Tensor scores = retort::functional::energy(logits, each.option("T"));
        CHECK(close(scores, each.component("scores"), 1e-10));
        CHECK(golden::agrees(each, scores.sum(), {{"logits", {logits}}}));
    }
    for (const golden::Case& each : golden::cases("energy__energy_ood")) {
        const Evidence evidence{.logits = each.input("logits")};
        CHECK(
            close(Energy{.temperature = each.option("T")}.score(evidence), each.component("energy"), 1e-10));
    }
    CHECK_THROWS_WITH(Energy{}.score({}), Catch::Contains("Energy: expected logits of the task"));
}

TEST_CASE("mahalanobis: pytorch-ood") {
    for (const golden::Case& each : golden::cases("mahalanobis__pytorch_ood")) {
        INFO(each.name());
        Mahalanobis own({.divisor = Options::Divisor::samples_less_1,
                         .shrinkage = Options::Shrinkage::none,
                         .ridge = each.option("regulari"
                                              "sation"),
                         .half = true});
        own.fit({.features = each.input("features"), .target = each.input("labels")});
        CHECK(close(own.score({.features = each.input("queries")}), each.component("scores"), 1e-5, 1e-8));
    }
}

TEST_CASE("mahalanobis: the authors' code, where the covariance is regular") {
    for (const golden::Case& each : golden::cases("mahalanobis__deep_mahalanobis")) {
        if (each.option("magnitude") > 0) continue;
        INFO(each.name());
        Mahalanobis own({.shrinkage = Options::Shrinkage::none, .ridge = 1e-12, .half = true});
        const Evidence data{.features = each.input("features"), .target = each.input("labels")};
        own.fit(data);
        if (each.name() == "collinear" || each.name() == "fewer_samples_than_dims" ||
            each.name() == "constant_feature")
            continue;  // a pseudo-inverse drops what does not vary
        CHECK(
            close(-own.score({.features = each.input("queries")}), each.component("confidence"), 1e-7, 1e-8));
    }
}

TEST_CASE("mahalanobis: shrinkage of scikit-learn") {
    using Shrinkage = Options::Shrinkage;
    int compared = 0;
    for (const golden::Case& each : golden::cases("mahalanobis_shrinkage__sklearn")) {
        INFO(each.name());
        const Evidence data{.features = each.input("features"), .target = each.input("labels")};
        Mahalanobis wolf({.shrinkage = Shrinkage::ledoit_wolf, .ridge = 0});
        wolf.fit(data);
        CHECK(wolf.shrinkage() == Approx(each.value().item<double>()).epsilon(1e-8).margin(1e-12));
        CHECK(close(wolf.score({.features = each.input("queries")}), each.component("ledoit_wolf.score"),
                    1e-6));
        Mahalanobis oracle({.shrinkage = Shrinkage::oracle, .ridge = 0});
        oracle.fit(data);
        CHECK(oracle.shrinkage() == Approx(each.component("oas.shrinkage").item<double>()).epsilon(1e-8));
        Mahalanobis fixed({.shrinkage = Shrinkage::fixed, .amount = each.option("shrinkage"), .ridge = 0});
        fixed.fit(data);
        CHECK(close(fixed.score({.features = each.input("queries")}), each.component("shrunk.score"), 1e-6));
        ++compared;
    }
    CHECK(compared == 10);
}

TEST_CASE("mahalanobis: what leaves the plane of the known data is strange") {
    torch::manual_seed(1);
    torch::Tensor plane = torch::randn({50, 3}, torch::kFloat64);
    plane.select(1, 2).copy_(plane.select(1, 0));
    Mahalanobis own({.shrinkage = Options::Shrinkage::none});
    own.fit({.features = plane});
    torch::Tensor off = plane.clone();
    off.select(1, 2).add_(1);
    CHECK(own.score({.features = off}).min().item<double>() >
          own.score({.features = plane}).max().item<double>());
}

TEST_CASE("mahalanobis: state, spaces and errors") {
    torch::manual_seed(1);
    const torch::Tensor images = torch::randn({20, 1, 2, 3});
    Mahalanobis own({.space = Space::input});
    CHECK_THROWS_WITH(own.score({.input = images}), "Mahalanobis: expected fit before score");
    own.fit({.input = images, .target = torch::arange(20).remainder(3)});
    retort::detail::StateItems items;
    retort::Archive saved(items);
    own.checkpoint(saved);
    Mahalanobis other({.space = Space::input});
    retort::Archive loaded(items, true, "here");
    other.checkpoint(loaded);
    CHECK(retort_test::same(own.score({.input = images}), other.score({.input = images})));
    CHECK_THROWS_WITH(own.score({.input = torch::randn({2, 5})}),
                      "Mahalanobis: expected samples of 6 values, as it was fitted to, found 5");
    CHECK_THROWS_WITH(own.score({.features = images}),
                      "Mahalanobis: expected inputs of at least one sample, found an undefined tensor");
    Mahalanobis singular({.shrinkage = Options::Shrinkage::none, .ridge = 0});
    CHECK_THROWS_WITH(singular.fit({.features = torch::ones({4, 2})}),
                      Catch::Contains("found a singular one: take a ridge above 0"));
    CHECK_THROWS_WITH(Mahalanobis({.amount = 2}),
                      "Mahalanobis: expected an amount of shrinkage in [0, 1], found 2");
}

TEST_CASE("quantile: numpy") {
    for (const golden::Case& each : golden::cases("threshold_quantile__numpy")) {
        INFO(each.name());
        const torch::Tensor scores = each.input("scores").contiguous();
        const std::vector<double> values(scores.data_ptr<double>(),
                                         scores.data_ptr<double>() + scores.numel());
        CHECK(quantile(values, each.option("q")) == Approx(each.value().item<double>()).epsilon(1e-12));
    }
    CHECK_THROWS_AS(quantile({}, 0.5), retort::ConfigError);
}

TEST_CASE("calibration: own data are known, stranger ones are not") {
    torch::manual_seed(1);
    Calibration calibration({.most = 100});
    CHECK_THROWS_WITH(calibration.judge(torch::zeros(3)), Catch::Contains("before a verdict, found none"));
    calibration.fit(torch::randn(1000));
    CHECK(calibration.threshold() == Approx(1.645).margin(0.15));
    int alarms = 0;
    for (int i = 0; i < 50; ++i) alarms += calibration.judge(torch::randn(64)).known ? 0 : 1;
    CHECK(alarms <= 3);
    const Verdict own = calibration.judge(torch::randn(2000));
    CHECK(own.strangeness == Approx(0.5).margin(0.05));
    const Verdict foreign = calibration.judge(torch::randn(64) + 2);
    CHECK_FALSE(foreign.known);
    CHECK(foreign.outside > 0.5);
    CHECK(foreign.strangeness == Approx(0.92).margin(0.05));
    CHECK(calibration.judge(torch::full({1}, 0.0)).known);
    CHECK_THROWS_WITH(calibration.judge(torch::tensor({1.0, std::nan("")})),
                      "Calibration: expected scores of a batch, found NaN for sample 1");
    CHECK_THROWS_WITH(Calibration({.quantile = 1}), "Calibration: expected a quantile in (0, 1), found 1");
}

}  // namespace assessment_test
