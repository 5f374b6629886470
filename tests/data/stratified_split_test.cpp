// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/data/stratified_split.hpp>

#include "files.hpp"

namespace stratified_split_test {

using retort::ConfigError;
using retort::DataError;
using retort::data::Dataset;
using retort::data::in_memory;
using retort::data::stratified_split;
using retort_test::same;

namespace {

/// Class c has `counts[c]` samples, spread over the set; the input of sample i is i.
Dataset spread(const std::vector<std::int64_t>& counts) {
    std::vector<std::int64_t> targets;
    for (std::size_t round = 0, left = 1; left > 0; ++round) {
        left = 0;
        for (std::size_t c = 0; c < counts.size(); ++c) {
            if (static_cast<std::int64_t>(round) >= counts[c]) continue;
            targets.push_back(static_cast<std::int64_t>(c));
            ++left;
        }
    }
    const auto count = static_cast<std::int64_t>(targets.size());
    return in_memory(torch::arange(count).view({count, 1}), torch::tensor(targets, torch::kInt64),
                     static_cast<std::int64_t>(counts.size()));
}
std::vector<std::int64_t> per_class(const Dataset& set) {
    const auto counts = torch::bincount(set.targets, {}, set.classes).contiguous();
    return {counts.data_ptr<std::int64_t>(), counts.data_ptr<std::int64_t>() + counts.numel()};
}

}  // namespace

TEST_CASE("A split takes the same fraction of each class, rounded to nearest, and each sample once") {
    const auto set = spread({100, 10, 14, 15, 16, 2, 0, 35});
    const auto split = stratified_split(set, {.validation_fraction = 0.1, .seed = 3});
    // 10, 1, 1.4, 1.5, 1.6, 0.2 (at least one), none, 3.5
    CHECK(per_class(split.validation) == std::vector<std::int64_t>{10, 1, 1, 2, 2, 1, 0, 4});
    CHECK(per_class(split.train) == std::vector<std::int64_t>{90, 9, 13, 13, 14, 1, 0, 31});
    CHECK(split.train.classes == 8);
    CHECK(split.validation.classes == 8);
    const auto all =
        std::get<0>(torch::sort(torch::cat({split.train.inputs, split.validation.inputs}).flatten()));
    CHECK(same(all, torch::arange(set.size())));
    // The index tensors hold the original positions of the samples, ascending.
    CHECK(same(split.train.inputs.flatten(), split.train_index));
    CHECK(same(split.validation.inputs.flatten(), split.validation_index));
    CHECK(same(split.validation.targets, set.targets.index_select(0, split.validation_index)));
    CHECK(split.train_index.diff().gt(0).all().item<bool>());
    CHECK(split.validation_index.diff().gt(0).all().item<bool>());
}

TEST_CASE("Both sides have at least one sample of each class") {
    const auto set = spread({2, 3, 100});
    CHECK(per_class(stratified_split(set, {.validation_fraction = 0.001}).validation) ==
          std::vector<std::int64_t>{1, 1, 1});
    CHECK(per_class(stratified_split(set, {.validation_fraction = 0.999}).train) ==
          std::vector<std::int64_t>{1, 1, 1});
}

TEST_CASE("A split depends only on its seed, and its samples are drawn uniformly") {
    const auto set = spread({20, 20});
    const auto first = stratified_split(set, {.validation_fraction = 0.25, .seed = 1});
    torch::manual_seed(77);
    CHECK(same(stratified_split(set, {.validation_fraction = 0.25, .seed = 1}).validation_index,
               first.validation_index));
    auto times = torch::zeros({set.size()});
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        const auto split = stratified_split(set, {.validation_fraction = 0.25, .seed = seed});
        times.index_add_(0, split.validation_index, torch::ones({split.validation_index.numel()}));
    }
    // Each sample is drawn 100 times of 400 on average, with a standard deviation of 8.7.
    CHECK(times.min().item<float>() > 60);
    CHECK(times.max().item<float>() < 140);
}

TEST_CASE("An impossible split is refused") {
    const auto set = spread({5, 5});
    for (const double fraction : {0.0, 1.0, -0.5, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
        RETORT_CHECK_ERROR(ConfigError, stratified_split(set, {.validation_fraction = fraction}),
                           "validation_fraction", "above 0 and below 1");
    }
    RETORT_CHECK_ERROR(DataError, stratified_split(spread({5, 1, 5})), "at least 2 samples", "class 1",
                       "sample 1");
    RETORT_CHECK_ERROR(DataError, stratified_split(in_memory(torch::rand({4, 1}), {}, 2)), "without");
}

}  // namespace stratified_split_test
