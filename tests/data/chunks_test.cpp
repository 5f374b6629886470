// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <range/v3/range/conversion.hpp>
#include <range/v3/view/take.hpp>
#include <range/v3/view/transform.hpp>

#include <retort/data/chunks.hpp>

#include "files.hpp"

namespace chunks_test {

using retort::ConfigError;
using retort::data::chunks;
using retort_test::same;

static_assert(ranges::random_access_range<retort::data::Chunks>);
static_assert(ranges::sized_range<retort::data::Chunks>);
static_assert(ranges::view_<retort::data::Chunks>);

TEST_CASE("Chunks split an order") {
    const auto order = torch::tensor({5, 3, 1, 4, 2}, torch::kInt64);
    const auto pieces = chunks(order, 2);
    REQUIRE(ranges::size(pieces) == 3);
    CHECK(same(pieces[0], torch::tensor({5, 3}, torch::kInt64)));
    CHECK(same(pieces[1], torch::tensor({1, 4}, torch::kInt64)));
    CHECK(same(pieces[2], torch::tensor({2}, torch::kInt64)));
    CHECK(pieces[1].data_ptr() == order.narrow(0, 2, 2).data_ptr());
    CHECK(ranges::size(chunks(order, 2, true)) == 2);
    CHECK(ranges::size(chunks(order, 5, true)) == 1);
    CHECK(ranges::size(chunks(order, 6, true)) == 0);
    CHECK(ranges::size(chunks(order, 6)) == 1);
    CHECK(ranges::size(chunks(order.narrow(0, 0, 0), 2)) == 0);
}

TEST_CASE("Chunks compose with the views of range-v3") {
    const auto sizes = chunks(torch::arange(10), 4) |
                       ranges::views::transform([](const torch::Tensor& piece) { return piece.numel(); }) |
                       ranges::to<std::vector>();
    CHECK(sizes == std::vector<std::int64_t>{4, 4, 2});
    std::int64_t sum = 0;
    for (const auto& piece : chunks(torch::arange(10), 3) | ranges::views::take(2))
        sum += piece.sum().item<std::int64_t>();
    CHECK(sum == 15);
}

TEST_CASE("Chunks of no samples, or of an invalid order, are refused") {
    RETORT_CHECK_ERROR(ConfigError, chunks(torch::arange(3), 0), "batch_size", "found 0");
    RETORT_CHECK_ERROR(ConfigError, chunks(torch::arange(3), -1), "found -1");
    RETORT_CHECK_ERROR(ConfigError, chunks(torch::zeros({2, 2}), 1), "one-dimensional");
    RETORT_CHECK_ERROR(ConfigError, chunks({}, 1), "one-dimensional");
}

}  // namespace chunks_test
