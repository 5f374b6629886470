// SPDX-License-Identifier: BSL-1.0
/// \file
/// Spaces, and the promotion rule against an independent implementation.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <random>

#include <retort/search/space.hpp>
#include <retort/search/successive_halving.hpp>

namespace search_test {

using namespace retort_test;
using retort::ConfigError;
using retort::search::Point;
using retort::search::Space;
using retort::search::SuccessiveHalving;

TEST_CASE("the size of a space is exact, however large") {
    Space space;
    CHECK(space.size() == "1");
    space.choice("a", {"1", "2", "3"}).choice("b", {"x", "y"});
    CHECK(space.size() == "6");
    Space large;
    for (int i = 0; i < 49; ++i) large.choice(std::to_string(i), {"a", "b", "c", "d"});
    for (int i = 0; i < 6; ++i) large.choice("n" + std::to_string(i), {"a", "b", "c"});
    CHECK(large.size() == "231029321891594808422774159179776");  // 4^49 * 3^6
    Space zeros;
    for (int i = 0; i < 21; ++i)
        zeros.choice(std::to_string(i), {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"});
    CHECK(zeros.size() == "1" + std::string(21, '0'));
}

TEST_CASE("a space converts points to words and back, and refuses those of other spaces") {
    Space space;
    space.choice("optimizer", {"sgd", "adam"}).choice("learning rate", {"0.1", "0.01", "0.001"});
    CHECK(space.words({1, 2}) == std::vector<std::string>{"adam", "0.001"});
    CHECK(space.word({1, 2}, "optimizer") == "adam");
    CHECK(space.point({"adam", "0.001"}) == Point{1, 2});
    const auto error = [](auto&& what) { return words_of<ConfigError>(what); };
    CHECK(
        holds(error([&] { space.word({1, 2}, "momentum"); }), "expected the name of a variable", "momentum"));
    CHECK(holds(error([&] { space.words({2, 0}); }), "each of 2 variables", "another point"));
    CHECK(holds(error([&] { space.words({0}); }), "each of 2 variables", "another point"));
    CHECK(holds(error([&] { space.choice("optimizer", {"x"}); }), "names that differ", "optimizer"));
    CHECK(holds(error([&] { space.choice("c", {}); }), "at least one choice", "\"c\""));
    CHECK(holds(error([&] { space.choice("c", {"x", "y", "x"}); }), "each choice once", "\"x\""));
    CHECK(holds(error([&] { space.choice("c", {"x\ny"}); }), "without line breaks", "x"));
    CHECK(holds(error([&] { space.choice("", {"x"}); }), "not empty", "\"\""));
    const auto other = [&](const std::vector<std::string>& words) {
        return words_of<retort::DataError>([&] { space.point(words); });
    };
    CHECK(holds(other({"adam"}), "each of 2 variables", "found 1"));
    CHECK(holds(other({"adam", "1"}), "for learning rate", "\"1\""));
}

TEST_CASE("points are drawn uniformly, from seed and number only, and only where the constraints hold") {
    Space space;
    space.choice("a", {"1", "2", "3"}).choice("b", {"x", "y"});
    std::map<Point, int> counts;
    for (std::uint64_t i = 0; i < 6000; ++i) ++counts[space.draw(5, i)];
    CHECK(counts.size() == 6);
    for (const auto& [point, count] : counts)
        CHECK(std::abs(count - 1000) < 150);  // five standard deviations
    CHECK(space.draw(5, 17) == space.draw(5, 17));
    int equal = 0;
    for (std::uint64_t i = 0; i < 600; ++i) equal += space.draw(5, i) == space.draw(6, i) ? 1 : 0;
    CHECK(equal < 150);  // 100 by chance

    space.only_if("not 1", [](const Point& point) { return point[0] != 0; });
    CHECK(space.size() == "6");
    std::map<Point, int> some;
    for (std::uint64_t i = 0; i < 400; ++i) {
        const Point point = space.draw(5, i);
        ++some[point];
        // A point that satisfies the constraint is the one drawn without it.
        if (Space all = Space().choice("a", {"1", "2", "3"}).choice("b", {"x", "y"}); all.draw(5, i)[0] != 0)
            CHECK(point == all.draw(5, i));
    }
    CHECK(some.size() == 4);
    space.only_if("is 1", [](const Point& point) { return point[0] == 0; });
    CHECK(holds(words_of<ConfigError>([&] { space.draw(0, 0); }), "found none among 10000", "not 1; is 1"));
}

TEST_CASE("rungs are at the steps of the formula") {
    const SuccessiveHalving usual;
    CHECK(usual.step(0) == 1);
    CHECK(usual.step(3) == 8);
    CHECK(usual.step(7) == 128);
    const SuccessiveHalving late{.minimum = 3, .factor = 4, .early_stopping = 2};
    CHECK(late.step(0) == 48);
    CHECK(late.step(2) == 768);
    CHECK(usual.step(200) == std::numeric_limits<std::int64_t>::max());
    for (const SuccessiveHalving& wrong : {SuccessiveHalving{.minimum = 0}, SuccessiveHalving{.factor = 1},
                                           SuccessiveHalving{.early_stopping = -1}}) {
        CHECK(holds(words_of<ConfigError>([&] { wrong.check(); }), "SuccessiveHalving: expected minimum",
                    "found"));
    }
}

TEST_CASE("the promotion rule, computed manually and against brute force") {
    const SuccessiveHalving halving;
    CHECK(halving.promoted(5, {5}));           // the first
    CHECK_FALSE(halving.promoted(6, {5, 6}));  // 2 / 2 - 1 = 0: only the best
    CHECK(halving.promoted(4, {5, 6, 4}));     // 3 / 2 - 1 = 0
    CHECK_FALSE(halving.promoted(5.5, {5, 6, 4, 5.5}));
    CHECK(halving.promoted(5, {5.5, 6, 4, 5}));  // 4 / 2 - 1 = 1
    CHECK(halving.promoted(4, {4, 4, 4}));       // equal values are promoted together
    const double infinite = std::numeric_limits<double>::infinity();
    CHECK_FALSE(halving.promoted(infinite, {infinite}));
    CHECK_FALSE(halving.promoted(std::nan(""), {infinite, 1}));

    std::mt19937_64 random(3);
    for (int run = 0; run < 300; ++run) {
        const SuccessiveHalving rule{.factor = 2 + static_cast<std::int64_t>(random() % 4)};
        std::vector<double> values;
        const std::uint64_t few = 1 + random() % 40;  // small numbers make equal values
        for (int i = 0; i < 60; ++i) {
            values.push_back(random() % 20 == 0 ? infinite : static_cast<double>(random() % few));
            // Counts smaller values: promoted if the value would be at the position or before it.
            const double value = values.back();
            const auto smaller =
                std::count_if(values.begin(), values.end(), [&](double v) { return v < value; });
            long position = static_cast<long>(values.size()) / static_cast<long>(rule.factor) - 1;
            if (position == -1) position = 0;
            const bool expected = std::isfinite(value) && smaller <= position;
            REQUIRE(rule.promoted(value, values) == expected);
        }
    }
}

}  // namespace search_test
