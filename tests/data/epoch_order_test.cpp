// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/data/chunks.hpp>
#include <retort/data/epoch_order.hpp>

#include "files.hpp"

namespace epoch_order_test {

using retort::ConfigError;
using retort::data::epoch_order;
using retort_test::same;

TEST_CASE("An order is a permutation determined only by seed and epoch") {
    const auto order = epoch_order(100, {.seed = 1, .epoch = 2});
    torch::manual_seed(5);
    (void)torch::rand({3});
    CHECK(same(epoch_order(100, {.seed = 1, .epoch = 2}), order));
    CHECK(same(std::get<0>(order.sort()), torch::arange(100)));
    CHECK_FALSE(same(order, torch::arange(100)));
    CHECK_FALSE(same(epoch_order(100, {.seed = 1, .epoch = 3}), order));
    CHECK_FALSE(same(epoch_order(100, {.seed = 2, .epoch = 2}), order));
    // Seed and epoch are not interchangeable.
    CHECK_FALSE(same(epoch_order(100, {.seed = 2, .epoch = 1}), order));
    CHECK(same(epoch_order(100, {.seed = 1, .epoch = 2, .shuffle = false}), torch::arange(100)));
    CHECK(epoch_order(0).numel() == 0);
    CHECK(same(epoch_order(1), torch::zeros({1}, torch::kInt64)));
}

TEST_CASE("Every sample gets to every position") {
    auto at_place = torch::zeros({5, 5});
    for (std::int64_t epoch = 0; epoch < 1000; ++epoch) {
        const auto order = epoch_order(5, {.epoch = epoch});
        for (std::int64_t i = 0; i < 5; ++i) at_place[i][order[i].item<std::int64_t>()] += 1;
    }
    // 200 on average, with a standard deviation of 12.6.
    CHECK(at_place.min().item<float>() > 140);
    CHECK(at_place.max().item<float>() < 260);
}

TEST_CASE("An order of a negative number of samples, or of a negative epoch, is refused") {
    RETORT_CHECK_ERROR(ConfigError, epoch_order(-1), "count", "-1");
    RETORT_CHECK_ERROR(ConfigError, epoch_order(3, {.epoch = -1}), "epoch", "-1");
}

}  // namespace epoch_order_test
