// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/detail/check.hpp>

namespace check_test {

using namespace retort_test;
using retort::ConfigError;
using retort::detail::Range;

namespace {
template <class Number>
std::string words(Number value, const Range& range) {
    return words_of<ConfigError>([&] { retort::detail::check_range("Policy", "an option", value, range); });
}
}  // namespace

TEST_CASE("ranges of options, with uniform messages") {
    const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
    struct Case {
        Range range;
        std::vector<double> good, bad;
        std::string text;
    };
    const std::vector<Case> cases{
        {retort::detail::above(0), {1e-300, 5}, {0, -1}, "above 0"},
        {retort::detail::at_least(1), {1, 7}, {0.5, -1}, "of at least 1"},
        {retort::detail::in_closed(0, 1), {0, 0.5, 1}, {-0.1, 1.1}, "in [0, 1]"},
        {retort::detail::in_open(0, 1), {0.5}, {0, 1}, "in (0, 1)"},
        {retort::detail::in_half_open(0, 1), {0, 0.5}, {-0.1, 1}, "in [0, 1)"},
    };
    for (const Case& each : cases) {
        for (const double value : each.good) CHECK(words(value, each.range).empty());
        for (const double value : each.bad) {
            CHECK(words(value, each.range) ==
                  retort::detail::concat("Policy: expected an option ", each.text, ", found ", value));
        }
        for (const double value : {nan, infinity, -infinity}) CHECK_FALSE(words(value, each.range).empty());
    }
    CHECK(words(std::int64_t{0}, retort::detail::at_least(1)) ==
          "Policy: expected an option of at least 1, found 0");
    CHECK(words_of<ConfigError>([&] { retort::detail::check_finite("Policy", "option", nan); }) ==
          "Policy: expected a finite option, found nan");
    CHECK_NOTHROW(retort::detail::check_finite("Policy", "option", -3));
}

TEST_CASE("options of a policy are checked if it has a check") {
    struct Checked {
        void check() const { throw ConfigError("no"); }
    };
    CHECK_THROWS_AS(retort::detail::check_policy(Checked{}), ConfigError);
    CHECK_NOTHROW(retort::detail::check_policy(3));
}

TEST_CASE("logits are [batch, classes] of a floating-point type") {
    const auto refusal = [](const torch::Tensor& logits) {
        return words_of<retort::ShapeError>(
            [&] { retort::detail::check_logits("Loss", "the student's logits", logits); });
    };
    CHECK(refusal(torch::zeros({2, 3})).empty());
    CHECK(holds(refusal(torch::zeros({0, 3})), "[0, 3]"));
    CHECK_NOTHROW(
        retort::detail::check_logits("Metric", "logits", torch::zeros({0, 3}), /*may_be_empty=*/true));
    CHECK(refusal({}) == "Loss: expected the student's logits to be a tensor, found an undefined one");
    CHECK(refusal(torch::zeros({2})) ==
          "Loss: expected the student's logits of shape [batch, classes], found [2]");
    CHECK(refusal(torch::zeros({2, 0})) ==
          "Loss: expected the student's logits of shape [batch, classes], found [2, 0]");
    CHECK(refusal(torch::zeros({2, 3}, torch::kLong)) ==
          "Loss: expected the student's logits of a floating-point type, found Long");
}

}  // namespace check_test
