// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <range/v3/view/take.hpp>

#include <retort/core/batch.hpp>
#include <retort/data/torch_loader.hpp>

#include "files.hpp"

namespace torch_loader_test {

using retort::data::batches;
using retort_test::same;

namespace {

/// Sample i is [i], its target i % 3.
struct Numbered : torch::data::Dataset<Numbered> {
    explicit Numbered(std::size_t count, std::size_t broken = 1000) : count_(count), broken_(broken) {}
    torch::data::Example<> get(std::size_t index) override {
        if (index == broken_) throw std::runtime_error("sample " + std::to_string(index));
        const auto number = static_cast<std::int64_t>(index);
        return {torch::full({1}, static_cast<float>(number)), torch::tensor(number % 3, torch::kInt64)};
    }
    torch::optional<std::size_t> size() const override { return count_; }
    std::size_t count_;
    std::size_t broken_;
};

auto make(std::size_t workers, std::size_t count = 10, std::size_t broken = 1000) {
    return torch::data::make_data_loader<torch::data::samplers::SequentialSampler>(
        Numbered(count, broken).map(torch::data::transforms::Stack<>()),
        torch::data::DataLoaderOptions().batch_size(4).workers(workers));
}

using Range = decltype(batches(std::declval<decltype(make(0))&>()));
static_assert(ranges::input_range<Range> && ranges::view_<Range> && !ranges::sized_range<Range>);
static_assert(std::ranges::input_range<Range>);
static_assert(retort::LabeledBatch<ranges::range_value_t<Range>>);

template <class R>
std::vector<float> numbers(R&& range) {
    std::vector<float> found;
    for (const auto& batch : range) {
        const torch::Tensor input = retort::input(batch);
        CHECK(same(retort::target(batch), input.flatten().to(torch::kInt64).remainder(3)));
        for (std::int64_t i = 0; i < input.size(0); ++i) found.push_back(input[i].item<float>());
    }
    return found;
}
const std::vector<float> ten{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

}  // namespace

TEST_CASE("A count makes the range of a torch loader sized") {
    auto loader = make(0);
    auto counted = batches(loader, 3);
    static_assert(std::ranges::sized_range<decltype(counted)> && ranges::view_<decltype(counted)>);
    CHECK(std::ranges::size(counted) == 3);
    CHECK(numbers(counted) == ten);
    CHECK(numbers(counted) == ten);
    CHECK(std::ranges::size(batches(*loader, 2)) == 2);
    CHECK(numbers(batches(make(1), 3)) == ten);
    RETORT_CHECK_ERROR(retort::ConfigError, batches(loader, 0),
                       "batches: expected an epoch of 1 or more batches, found 0");
}

TEST_CASE("The batches of a torch loader are a range, which restarts for each epoch") {
    const std::size_t workers = GENERATE(0U, 1U, 3U);
    auto loader = make(workers);
    auto by_pointer = batches(loader);
    CHECK(numbers(by_pointer) == ten);
    CHECK(numbers(by_pointer) == ten);
    auto by_reference = batches(*loader);
    CHECK(numbers(by_reference) == ten);
    auto owned = batches(make(workers));
    CHECK(numbers(owned) == ten);
    auto copy = owned;
    CHECK(numbers(copy) == ten);
}

TEST_CASE("An abandoned epoch does not prevent the next one") {
    const std::size_t workers = GENERATE(0U, 1U, 3U);
    auto loader = make(workers);
    auto range = batches(loader);
    for (auto& batch : range) {
        if (batch.data.defined()) break;
    }
    CHECK(numbers(range) == ten);
    std::int64_t taken = 0;
    for (auto&& batch : range | ranges::views::take(2)) taken += batch.data.size(0);
    CHECK(taken == 8);
    CHECK(numbers(range) == ten);
    (void)range.begin();
    CHECK(numbers(range) == ten);
}

TEST_CASE("Exceptions of a loader's worker propagate from the range, and the next epoch still works") {
    const std::size_t workers = GENERATE(0U, 2U);
    auto range = batches(make(workers, 10, 5));
    for (int epoch = 0; epoch < 3; ++epoch) {
        auto it = range.begin();
        CHECK(same((*it).data.flatten(), torch::tensor({0.0F, 1.0F, 2.0F, 3.0F})));
        RETORT_CHECK_ERROR(std::exception, ++it, "sample 5");
    }
}

TEST_CASE("A loader of an empty data set is an empty range") {
    auto range = batches(make(1, 0));
    CHECK(range.begin() == range.end());
    CHECK(numbers(range).empty());
}

TEST_CASE("An empty pointer is refused") {
    decltype(make(0)) nothing;
    RETORT_CHECK_ERROR(retort::ConfigError, batches(nothing), "empty pointer");
    RETORT_CHECK_ERROR(retort::ConfigError, batches(std::move(nothing)), "empty pointer");
}

}  // namespace torch_loader_test
