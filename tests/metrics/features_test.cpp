// SPDX-License-Identifier: BSL-1.0
/// \file
/// Metrics on features: retrieval, nearest centroids, linear probes.
#include <allocations.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/metrics.hpp>

namespace features_test {

using namespace retort::metrics;
using retort::ConfigError;
using retort::DataError;
using retort::ShapeError;
using retort_test::holds;
using retort_test::words_of;

namespace {

torch::Tensor ints(std::vector<std::int64_t> values) { return torch::tensor(values, torch::kInt64); }
Features line(std::vector<double> places, std::vector<std::int64_t> classes) {
    return {torch::tensor(places, torch::kFloat64).unsqueeze(1), ints(std::move(classes))};
}
/// Small whole numbers, so that distances are exact and many are equal.
Features random_features(std::int64_t count, std::int64_t width, std::int64_t classes, std::uint64_t seed) {
    auto generator = at::detail::createCPUGenerator(seed);
    return {torch::randint(-3, 4, {count, width}, generator, torch::kFloat32),
            torch::randint(0, classes, {count}, generator, torch::kInt64)};
}

/// The definitions, literally, on one list of all ranks.
double naive_average(const std::vector<bool>& hits, AveragePrecision kind, std::size_t batch) {
    std::vector<double> precision, recall;
    double found = 0;
    const auto all = static_cast<double>(std::count(hits.begin(), hits.end(), true));
    for (std::size_t rank = 0; rank < hits.size(); ++rank) {
        found += hits[rank];
        precision.push_back(found / static_cast<double>(rank + 1));
        recall.push_back(found / all);
    }
    double sum = 0;
    if (kind == AveragePrecision::exact) {
        for (std::size_t rank = 0; rank < hits.size(); ++rank) sum += hits[rank] ? precision[rank] : 0;
        return sum / all;
    }
    if (kind == AveragePrecision::eleven_point) {
        for (int level = 0; level <= 10; ++level) {
            double largest = 0;
            for (std::size_t rank = 0; rank < hits.size(); ++rank) {
                if (recall[rank] > level / 10.0 - 1e-9) largest = std::max(largest, precision[rank]);
            }
            sum += largest;
        }
        return sum / 11;
    }
    for (std::size_t i = std::min(batch, hits.size()) - 1; i-- > 0;) {
        precision[i] = std::max(precision[i], precision[i + 1]);
    }
    for (int level = 0; level <= 10; ++level) {
        std::size_t closest = 0;
        for (std::size_t rank = 0; rank < hits.size(); ++rank) {
            if (std::abs(recall[rank] - level * 0.1) < std::abs(recall[closest] - level * 0.1))
                closest = rank;
        }
        sum += precision[closest];
    }
    return sum / 11;
}

double naive_map(const Features& gallery, const Features& queries, const RetrievalOptions& options) {
    double sum = 0;
    const auto count = queries.size();
    for (std::int64_t q = 0; q < count; ++q) {
        const auto query = queries.values[q].to(torch::kFloat64);
        const auto rows = gallery.values.to(torch::kFloat64);
        const auto distance = options.distance == Distance::euclidean
                                  ? (rows - query).square().sum(1)
                                  : -rows.mv(query) / (rows.norm(2, {1}) * query.norm()).clamp_min(1e-12);
        std::vector<std::int64_t> order(static_cast<std::size_t>(gallery.size()));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
            return distance[a].item<double>() < distance[b].item<double>();
        });
        std::vector<bool> hits;
        for (const auto place : order) {
            hits.push_back(gallery.target[place].item<std::int64_t>() ==
                           queries.target[q].item<std::int64_t>());
        }
        const auto first = q / options.released_batch * options.released_batch;
        sum += naive_average(hits, options.average,
                             static_cast<std::size_t>(std::min(options.released_batch, count - first)));
    }
    return sum / static_cast<double>(count);
}

const Features shelf = line({1, 2, 4, 8, 16}, {0, 1, 0, 0, 1});

}  // namespace

TEST_CASE("retrieval has manually computed values") {
    // From 0: the classes 0 1 0 0 1. From 17: 1 0 0 1 0.
    const auto queries = line({0, 17}, {0, 1});
    const auto scores = [&](AveragePrecision average, std::int64_t batch = 128) {
        return Retrieval{shelf,
                         {.distance = Distance::euclidean,
                          .average = average,
                          .at = {1, 2, 3, 5},
                          .released_batch = batch}}
            .scores(queries);
    };
    const auto exact = scores(AveragePrecision::exact);
    CHECK(exact.mean_average_precision ==
          Approx(((1 + 2.0 / 3 + 3.0 / 4) / 3 + (1 + 2.0 / 4) / 2) / 2).epsilon(1e-12));
    CHECK(exact.precision[0] == 1.0);
    CHECK(exact.precision[1] == Approx((0.5 + 0.5) / 2));
    CHECK(exact.precision[2] == Approx((2.0 / 3 + 1.0 / 3) / 2));
    CHECK(exact.precision[3] == Approx((3.0 / 5 + 2.0 / 5) / 2));
    // Recalls 0 to 0.3: 1; 0.4 to 1: 3/4 (at 3 hits). Of the second: 0 to 0.5: 1; 0.6 to 1: 1/2.
    CHECK(scores(AveragePrecision::eleven_point).mean_average_precision ==
          Approx(((4 * 1 + 7 * 0.75) / 11 + (6 * 1 + 5 * 0.5) / 11) / 2).epsilon(1e-12));
    // Batches of 2: p' of the first ranking is 1, 1/2, 2/3, 3/4, 3/5. Closest recalls: of 0 to 0.5 the first
    // rank's (1/3; 0.5 is as close to 2/3, but the first counts if rounding does not decide), ...
    const std::vector<bool> first{true, false, true, true, false}, second{true, false, false, true, false};
    CHECK(scores(AveragePrecision::eleven_point_released, 2).mean_average_precision ==
          Approx((naive_average(first, AveragePrecision::eleven_point_released, 2) +
                  naive_average(second, AveragePrecision::eleven_point_released, 2)) /
                 2)
              .epsilon(1e-12));
    // 0 to 0.4: recall 1/3, p' 1. 0.6 to 0.8: recall 2/3, p' 2/3. 0.9 and 1: 3/4. 0.5 is as far from 1/3 as
    // from 2/3 up to rounding: |2/3 - 0.5| = 0.16666666666666663, |1/3 - 0.5| = 0.16666666666666669.
    CHECK(naive_average(first, AveragePrecision::eleven_point_released, 2) ==
          Approx((5 * 1 + 4 * 2.0 / 3 + 2 * 0.75) / 11).epsilon(1e-12));
    // The whole ranking, made monotonic: 1, 3/4, 3/4, 3/4, 3/5.
    CHECK(naive_average(first, AveragePrecision::eleven_point_released, 5) ==
          Approx((5 * 1 + 4 * 0.75 + 2 * 0.75) / 11).epsilon(1e-12));
    CHECK(scores(AveragePrecision::eleven_point_released, 2).precision[1] == Approx(0.5));
}

TEST_CASE("cosine retrieval depends only on directions") {
    const Features gallery{torch::tensor({{10.0, 1.0}, {0.0, 0.1}, {-1.0, 0.0}, {1.0, 1.0}, {0.0, 0.0}}),
                           ints({0, 1, 0, 1, 0})};
    // The order from (0.01, 0): the first, the fourth, then second and fifth (both at 1), then the third.
    const auto scores =
        Retrieval{gallery, {.at = {1, 2, 3, 4}}}.scores({torch::tensor({{0.01, 0.0}}), ints({1})});
    CHECK(scores.mean_average_precision == Approx((1.0 / 2 + 2.0 / 3) / 2));
    CHECK(scores.precision == std::vector<double>{0.0, 0.5, 2.0 / 3, 0.5});
}

TEST_CASE("retrieval agrees with a naive implementation, whatever the number of distances in memory") {
    // Integers, whose mean over 64 is exact: rounding does not decide between equal distances.
    const auto whole = random_features(64, 4, 5, 1);
    const auto queries = random_features(23, 4, 5, 2);
    const Features gallery{whole.values.to(torch::kFloat64), whole.target};
    for (const auto average :
         {AveragePrecision::exact, AveragePrecision::eleven_point, AveragePrecision::eleven_point_released}) {
        RetrievalOptions options{
            .distance = Distance::euclidean, .average = average, .at = {1, 10, 64}, .released_batch = 8};
        const auto scores = Retrieval{gallery, options}.scores(queries);
        CHECK(scores.mean_average_precision == Approx(naive_map(gallery, queries, options)).epsilon(1e-12));
        for (const std::int64_t most : {1, 64, 3 * 64 + 5, 1000000}) {
            options.most_distances = most;
            const auto again = Retrieval{gallery, options}.scores(queries);
            CHECK(again.mean_average_precision == scores.mean_average_precision);
            CHECK(again.precision == scores.precision);
        }
    }
    // Directions that no two samples share.
    auto generator = at::detail::createCPUGenerator(5);
    const Features smooth{torch::randn({200, 6}, generator, torch::kFloat64),
                          whole.target.repeat({4}).slice(0, 0, 200)};
    const Features asked{torch::randn({40, 6}, generator, torch::kFloat64), smooth.target.slice(0, 20, 60)};
    for (const auto average :
         {AveragePrecision::exact, AveragePrecision::eleven_point, AveragePrecision::eleven_point_released}) {
        RetrievalOptions options{.average = average, .released_batch = 16};
        const double expected = naive_map(smooth, asked, options);
        for (const std::int64_t most : {1, 900, 1000000}) {
            options.most_distances = most;
            CHECK(Retrieval{smooth, options}.scores(asked).mean_average_precision ==
                  Approx(expected).epsilon(1e-12));
        }
    }
}

TEST_CASE("retrieval keeps few distances in memory") {
    const auto gallery = random_features(3000, 2, 3, 1);
    const auto queries = random_features(2000, 2, 3, 2);
    const Retrieval retrieval{gallery, {.most_distances = 1 << 15}};
    const retort_test::AllocationCount memory;
    CHECK(retrieval.scores(queries).mean_average_precision > 0.3);
    CHECK(memory.largest() <= (1 << 15) * 8);  // places in the ranking, as int64
    CHECK(memory.peak() < (1 << 15) * 40);     // the 6 million distances of all pairs would be 24 MB
}

TEST_CASE("retrieval refuses invalid features") {
    CHECK(holds(words_of<ConfigError>([] { Retrieval(shelf, {.at = {6}}); }),
                "Retrieval: expected ranks from 1 to the size of the gallery, 5, found 6"));
    CHECK(holds(words_of<ConfigError>([] { Retrieval(shelf, {.at = {0}}); }), "found 0"));
    CHECK(holds(words_of<ConfigError>([] { Retrieval(shelf, {.released_batch = 0}); }), "at least 1"));
    CHECK(holds(words_of<ConfigError>([] { Retrieval(shelf, {.most_distances = 0}); }), "at least 1"));
    CHECK(holds(words_of<ShapeError>([] { Retrieval(Features{}); }),
                "Retrieval: expected the gallery to be features", "found an undefined tensor"));
    CHECK(holds(words_of<ShapeError>([] { Retrieval({torch::zeros({3}), ints({0, 1, 2})}); }),
                "of shape [samples, ...], found Float of shape [3]"));
    CHECK(
        holds(words_of<ShapeError>([] { Retrieval({torch::zeros({3, 1}, torch::kLong), ints({0, 1, 2})}); }),
              "found Long"));
    CHECK(holds(words_of<ShapeError>([] { Retrieval({torch::zeros({3, 1}), ints({0, 1})}); }),
                "expected 3 classes of type int64"));
    CHECK(holds(words_of<ShapeError>([] { Retrieval({torch::zeros({3, 1}), torch::zeros({3})}); }),
                "expected 3 classes of type int64", "found Float"));
    CHECK(holds(words_of<DataError>([] { Retrieval(line({0, 1}, {0, -1})); }),
                "expected classes of at least 0, found -1 in row 1 of the gallery"));
    CHECK(holds(words_of<DataError>([] { Retrieval(line({0, 1, NAN}, {0, 1, 1})); }),
                "found NaN or infinity in row 2 of the gallery"));
    const Retrieval retrieval{shelf};
    CHECK(holds(words_of<DataError>([&] { retrieval.scores(line({0, 1}, {0, 2})); }),
                "expected queries whose classes occur in the gallery, found class 2 in query 1"));
    CHECK(holds(words_of<ShapeError>([&] { retrieval.scores({torch::zeros({1, 2}), ints({0})}); }),
                "expected queries of width 1", "found width 2"));
    CHECK(holds(words_of<DataError>([&] { retrieval.scores(line({INFINITY}, {0})); }), "of the queries"));
}

TEST_CASE("the nearest centroid, computed manually") {
    // Means: class 3 at 2, class 7 at 10. 6 is as near to both.
    const auto gallery = line({1, 3, 8, 12}, {3, 3, 7, 7});
    const NearestCentroid nearest{gallery};
    CHECK(retort_test::same(nearest.classes(), ints({3, 7})));
    CHECK(retort_test::same(nearest.centroids(), torch::tensor({2.0, 10.0}, torch::kFloat64).unsqueeze(1)));
    const auto queries = line({5.9, 6.0, 6.1, -100}, {3, 7, 7, 1});
    CHECK(retort_test::same(nearest.predict(queries), ints({3, 3, 7, 3})));
    CHECK(nearest.accuracy(queries) == 0.5);
    // By directions the long row counts as much as the short one: the mean is at 45 degrees.
    const Features corners{torch::tensor({{100.0, 0.0}, {0.0, 1.0}, {-1.0, -1.0}}), ints({0, 0, 1})};
    CHECK(retort_test::close(NearestCentroid(corners, Distance::cosine).centroids()[0],
                             torch::tensor({0.5, 0.5})));
    const Features diagonal{torch::tensor({{1.0, 5.0}, {-3.0, 1.0}}), ints({0, 1})};
    CHECK(NearestCentroid(corners, Distance::cosine).accuracy(diagonal) == 1.0);
    CHECK(holds(words_of<ShapeError>([&] { nearest.accuracy(corners); }),
                "NearestCentroid: expected queries of width 1"));
    CHECK(holds(words_of<ShapeError>([] { NearestCentroid(Features{}); }), "NearestCentroid: expected the"));
}

TEST_CASE("the linear probe finds linearly separable classes, and its result is a minimum") {
    auto generator = at::detail::createCPUGenerator(3);
    const auto values = torch::randn({300, 5}, generator, torch::kFloat64);
    const auto weight = torch::randn({5, 3}, generator, torch::kFloat64);
    // Classes 2, 4 and 9; a constant feature; another scale.
    const auto place = values.mm(weight).argmax(1);
    const auto target = ints({2, 4, 9}).index_select(0, place);
    const auto all = torch::cat({values * 1e4 + 3e4, torch::full({300, 1}, 7.0, torch::kFloat64)}, 1);
    const Features gallery{all.slice(0, 0, 200), target.slice(0, 0, 200)};
    const Features queries{all.slice(0, 200), target.slice(0, 200)};
    const LinearProbe probe{gallery, {.iterations = 1000}};
    CHECK(probe.accuracy(gallery) > 0.99);
    CHECK(probe.accuracy(queries) > 0.95);
    CHECK(probe.predict(queries).eq(9).sum().item<std::int64_t>() > 0);

    // One feature, two classes that overlap: at the minimum of the mean cross-entropy plus l2/2 |W|^2 the
    // derivative is 0. With W = (-w, w) and balanced classes it is w = mean of x y sigmoid(-2 w x y) / (2 l2)
    // for x of deviation 1 and y = 1, -1.
    const auto points = line({-2, -1, 1, 2, -1, 1}, {0, 0, 0, 1, 1, 1});
    const double l2 = 0.1;
    const LinearProbe small{points, {.l2 = l2, .iterations = 1000, .tolerance = 1e-10}};
    const std::vector<double> x{-2, -1, 1, 2, -1, 1};
    const std::vector<int> y{-1, -1, -1, 1, 1, 1};
    const double deviation = std::sqrt((4.0 + 1 + 1 + 4 + 1 + 1) / 6);
    double best = HUGE_VAL;
    for (double w = -3; w < 3; w += 1e-3) {
        double loss = l2 * w * w;  // two weights, each counting w^2 / 2
        for (std::size_t i = 0; i < 6; ++i) {
            loss += std::log1p(std::exp(-2 * w * x[i] / deviation * y[i])) / 6;
        }
        best = std::min(best, loss);
    }
    CHECK(small.loss() == Approx(best).margin(1e-6));
    CHECK(holds(words_of<ConfigError>([&] { LinearProbe(points, {.l2 = -1}); }), "LinearProbe: expected l2"));
    CHECK(holds(words_of<ConfigError>([&] { LinearProbe(points, {.iterations = 0}); }), "1 iteration"));
    CHECK(holds(words_of<ShapeError>([&] { small.accuracy(gallery); }), "expected queries of width 1"));
}

TEST_CASE("metrics on features leave gradient mode and inputs unchanged") {
    auto features = random_features(30, 3, 3, 9);
    features.values = torch::rand({30, 3});
    features.values.requires_grad_();
    const auto before = features.values.detach().clone();
    {
        const torch::NoGradGuard no_grad;
        CHECK(LinearProbe{features}.accuracy(features) > 0);  // fits with gradients nevertheless
    }
    CHECK(Retrieval{features}.scores(features).precision[0] == 1.0);
    CHECK(NearestCentroid{features}.accuracy(features) > 0);
    CHECK_FALSE(features.values.grad().defined());
    CHECK(retort_test::same(features.values.detach(), before));
}

TEST_CASE("information content, computed manually") {
    const auto content = [](const Features& features, InformationEstimate estimate,
                            Distance distance = Distance::euclidean) {
        return information_content(features, {.estimate = estimate, .distance = distance});
    };
    // Four classes far apart: all the information, the logarithm of 4.
    const auto apart = line({0, 0.1, 10, 10.1, 20, 20.1, 30, 30.1}, {0, 0, 5, 5, 2, 2, 9, 9});
    CHECK(content(apart, InformationEstimate::nearest_centroid) == Approx(std::log(4.0)).epsilon(1e-12));
    // The classes 0 and 1 at one place, 2 at another. The centroid of class 0 is the lower of two equal ones:
    // predictions 0 0 2 for the classes 0 1 2. I = H(prediction) = ln 3 - 2/3 ln 2.
    const auto merged = line({1, 1, 1, 1, 5, 5}, {0, 0, 1, 1, 2, 2});
    CHECK(content(merged, InformationEstimate::nearest_centroid) ==
          Approx(std::log(3.0) - 2.0 / 3 * std::log(2.0)).epsilon(1e-12));
    // No information.
    CHECK(content(line({1, 1, 1, 1}, {0, 1, 0, 1}), InformationEstimate::nearest_centroid) ==
          Approx(0.0).margin(1e-12));
    CHECK(content(line({1, 1, 1, 1}, {0, 1, 0, 1}), InformationEstimate::separability) == 0.0);
    // The samples behind the centroids are not classified by them: pure noise has almost no information,
    // although it has more dimensions than samples.
    auto generator = at::detail::createCPUGenerator(1);
    const Features noise{torch::randn({400, 1000}, generator),
                         torch::randint(0, 2, {400}, generator, torch::kInt64)};
    CHECK(content(noise, InformationEstimate::nearest_centroid) < 0.02);
    // Variance: classes at 0 and 4, each +-1: between 4, within 1.
    CHECK(content(line({-1, 1, 3, 5}, {0, 0, 1, 1}), InformationEstimate::separability) == Approx(0.8));
}

TEST_CASE("quadratic mutual information is that of Torkkola with the cosine kernel") {
    const auto features = random_features(20, 3, 3, 4);
    const auto unit = features.values.to(torch::kFloat64) /
                      features.values.to(torch::kFloat64).norm(2, {1}, true).clamp_min(1e-12);
    const auto kernel = (unit.mm(unit.t()) + 1) / 2;
    const auto same = features.target.unsqueeze(0).eq(features.target.unsqueeze(1)).to(torch::kFloat64);
    const auto share = same.mean(1);
    const double within = (kernel * same).mean().item<double>();
    double all = 0;
    for (int c = 0; c < 3; ++c) {
        all += std::pow(features.target.eq(c).to(torch::kFloat64).mean().item<double>(), 2);
    }
    all *= kernel.mean().item<double>();
    const double between = (kernel * share.unsqueeze(1)).mean().item<double>();
    CHECK(information_content(features, {.estimate = InformationEstimate::quadratic}) ==
          Approx(within + all - 2 * between).epsilon(1e-5));
    CHECK(within + all - 2 * between > 1e-3);
}

TEST_CASE("information content refuses invalid features") {
    CHECK(holds(words_of<DataError>([] { information_content(line({0, 1, 2}, {4, 4, 7})); }),
                "information_content: expected at least 2 samples of each class, found 1 of class 7"));
    CHECK(holds(words_of<ShapeError>([] { information_content(Features{}); }),
                "information_content: expected"));
}

TEST_CASE("the Fisher trace of a linear classifier has its known value") {
    torch::manual_seed(2);
    torch::nn::Linear net(4, 3);
    net->to(torch::kFloat64);
    const auto x = torch::rand({6, 4}, torch::kFloat64) * 3;
    const auto p = net->forward(x).softmax(1).detach();
    // E_y |p - e_y|^2 = 1 - |p|^2, times |x|^2 for the weights and 1 for the bias.
    const double expected = ((x.square().sum(1) + 1) * (1 - p.square().sum(1))).mean().item<double>();
    const double found = fisher_trace(net, x, {.repetitions = 4000, .seed = 5});
    CHECK(found == Approx(expected).epsilon(0.05));
    CHECK(found == fisher_trace(net, x, {.repetitions = 4000, .seed = 5}));
    CHECK(found != fisher_trace(net, x, {.repetitions = 4000, .seed = 6}));
    net->bias.requires_grad_(false);
    CHECK(fisher_trace(net, x, {.repetitions = 4000}) ==
          Approx((x.square().sum(1) * (1 - p.square().sum(1))).mean().item<double>()).epsilon(0.05));
}

TEST_CASE("the Fisher trace leaves the network unchanged") {
    retort_test::ConvNet net(2, 0.5);
    net->train();
    const auto before = retort_test::state(*net);
    torch::manual_seed(3);
    const auto expected = torch::rand({1});
    torch::manual_seed(3);
    const torch::NoGradGuard no_grad;
    CHECK(fisher_trace(net, torch::rand({4, 1, 8, 8}, at::detail::createCPUGenerator(1))) > 0);
    CHECK(retort_test::same(torch::rand({1}), expected));
    CHECK(retort_test::same(retort_test::state(*net), before));
    CHECK(net->is_training());
    for (const auto& parameter : net->parameters()) CHECK_FALSE(parameter.grad().defined());
    CHECK(words_of<retort::NonFiniteError>([&] {
              fisher_trace(net, torch::full({4, 1, 8, 8}, std::nan("")));
          }) == "fisher_trace: expected finite values in the logits, found NaN");
    CHECK(holds(
        words_of<ConfigError>([&] { fisher_trace(net, torch::rand({4, 1, 8, 8}), {.repetitions = 0}); }),
        "fisher_trace: expected at least 1 repetition"));
    for (auto& parameter : net->parameters()) parameter.requires_grad_(false);
    CHECK(holds(words_of<ConfigError>([&] { fisher_trace(net, torch::rand({4, 1, 8, 8})); }),
                "expected a network with trainable parameters, found none"));
}

}  // namespace features_test
