// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/data/dataset.hpp>

#include "files.hpp"

namespace dataset_test {

using retort::ConfigError;
using retort::DataError;
using retort::data::in_memory;
using retort::data::subset;
using retort_test::same;

namespace {

torch::Tensor targets(std::vector<std::int64_t> values) { return torch::tensor(values, torch::kInt64); }

}  // namespace

TEST_CASE("A data set shares its tensors") {
    const auto inputs = torch::rand({3, 2});
    const auto set = in_memory(inputs, targets({0, 2, 1}), 3);
    CHECK(set.inputs.is_same(inputs));
    CHECK(set.size() == 3);
    CHECK(set.labeled());
    const auto unlabeled = in_memory(torch::zeros({2, 1, 4, 4}, torch::kUInt8), {}, 0);
    CHECK_FALSE(unlabeled.labeled());
    CHECK(unlabeled.size() == 2);
}

TEST_CASE("Tensors that are not a data set are refused") {
    const auto inputs = torch::rand({3, 2});
    RETORT_CHECK_ERROR(DataError, in_memory({}, targets({0}), 1), "undefined tensor");
    RETORT_CHECK_ERROR(DataError, in_memory(torch::tensor(1.0), {}, 1), "without dimensions");
    RETORT_CHECK_ERROR(DataError, in_memory(torch::rand({0, 2}), targets({}), 1), "at least one sample",
                       "[0, 2]");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, targets({0, 1}), 2), "shape [3]", "shape [2]");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, targets({0, 1, 1}).view({3, 1}), 2), "shape [3]",
                       "[3, 1]");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, torch::zeros({3}, torch::kInt32), 2), "int64", "Int");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, torch::zeros({3}), 2), "int64", "Float");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, targets({0, 2, 3}), 2), "from 0 to 1 (2 classes)",
                       "found 2", "sample 1");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, targets({0, 0, -1}), 2), "found -1", "sample 2");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, targets({0, 0, 0}), 0), "at least 1 class", "found 0");
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, {}, -1), "0 or more", "found -1");
}

TEST_CASE("NaN and infinity are found anywhere") {
    // 3000 samples of 2000 numbers take two steps of the search.
    auto inputs = torch::zeros({3000, 2000});
    const auto value =
        GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                 -std::numeric_limits<float>::infinity());
    const auto sample = GENERATE(0, 1, 2096, 2097, 2098, 2999);
    inputs[sample][1999] = value;
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, {}, 0), "NaN or infinity",
                       "in sample " + std::to_string(sample) + " of");
    inputs[2999][0] = value;
    RETORT_CHECK_ERROR(DataError, in_memory(inputs, {}, 0), "in sample " + std::to_string(sample) + " of");
    CHECK(retort::data::detail::first_non_finite(torch::rand({3, 5}).to(torch::kHalf)) == -1);
}

TEST_CASE("A subset has the chosen samples in the chosen order") {
    const auto set = in_memory(torch::arange(8, torch::kFloat32).view({4, 2}), targets({0, 1, 2, 1}), 3);
    const auto part = subset(set, targets({3, 0, 3}));
    CHECK(same(part.inputs, torch::tensor({{6.0F, 7.0F}, {0.0F, 1.0F}, {6.0F, 7.0F}})));
    CHECK(same(part.targets, targets({1, 0, 1})));
    CHECK(part.classes == 3);
    CHECK_FALSE(subset(in_memory(set.inputs, {}, 0), targets({1})).labeled());
    RETORT_CHECK_ERROR(ConfigError, subset(set, targets({0, 4})), "from 0 to 3", "found 4", "position 1");
    RETORT_CHECK_ERROR(ConfigError, subset(set, targets({-1})), "found -1");
    RETORT_CHECK_ERROR(ConfigError, subset(set, targets({})), "at least one index");
    RETORT_CHECK_ERROR(ConfigError, subset(set, torch::zeros({2})), "int64");
    RETORT_CHECK_ERROR(ConfigError, subset(set, {}), "at least one index");
}

TEST_CASE("A data set moves to a device like a batch") {
    const auto set = in_memory(torch::rand({2, 2}), targets({0, 1}), 2);
    const auto moved = retort::to_device(set, torch::kCPU);
    CHECK(moved.inputs.is_same(set.inputs));
    CHECK(moved.targets.is_same(set.targets));
    CHECK(moved.classes == 2);
}

}  // namespace dataset_test
