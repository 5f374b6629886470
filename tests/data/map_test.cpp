// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <memory>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

#include <range/v3/range/conversion.hpp>
#include <range/v3/view/drop.hpp>
#include <range/v3/view/filter.hpp>
#include <range/v3/view/iota.hpp>
#include <range/v3/view/move.hpp>
#include <range/v3/view/stride.hpp>
#include <range/v3/view/take.hpp>

#include <retort/data/map.hpp>
#include <retort/data/prefetch.hpp>

#include "files.hpp"

namespace map_test {

using retort::data::map;
using retort::data::prefetch;

namespace {

const auto square = [](int x) { return x * x; };
auto numbers(int count) { return ranges::views::iota(0, count); }
template <class Range>
auto all(Range&& range) {
    std::vector<std::remove_cvref_t<decltype(*range.begin())>> found;
    for (auto&& each : range) found.push_back(each);
    return found;
}

using Squares = decltype(numbers(3) | map(square));
static_assert(ranges::input_range<Squares> && ranges::view_<Squares> && ranges::sized_range<Squares>);
static_assert(std::ranges::input_range<Squares> && std::ranges::view<Squares> &&
              std::ranges::sized_range<Squares>);
static_assert(!std::ranges::forward_range<Squares>);
static_assert(std::default_initializable<Squares> && std::copyable<Squares>);

}  // namespace

TEST_CASE("map applies a function to each element, once, when it is dereferenced") {
    std::vector<int> seen;
    auto range = numbers(10) | map([&](int x) {
                     seen.push_back(x);
                     return x * x;
                 });
    CHECK(range.size() == 10);
    CHECK(seen.empty());
    auto it = range.begin();
    CHECK(seen.empty());
    CHECK(*it == 0);
    CHECK(*it == 0);
    CHECK(seen == std::vector<int>{0});
    ++it;
    CHECK(seen == std::vector<int>{0});
    // Skipped elements are not made; those that a filter reads are made once.
    seen.clear();
    CHECK((range | ranges::views::drop(2) | ranges::views::stride(3) | ranges::to<std::vector>()) ==
          std::vector<int>{4, 25, 64});
    CHECK(seen == std::vector<int>{2, 5, 8});
    seen.clear();
    CHECK((range | ranges::views::filter([](int x) { return x % 2 == 1; }) | ranges::to<std::vector>()) ==
          std::vector<int>{1, 9, 25, 49, 81});
    CHECK(seen == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("a mapped multi-pass range can be iterated several times, copies independently") {
    auto range = numbers(4) | map(square);
    CHECK(all(range) == std::vector<int>{0, 1, 4, 9});
    CHECK(all(range) == std::vector<int>{0, 1, 4, 9});
    auto one = range.begin();
    ++one;
    auto copy = range;
    auto two = copy.begin();
    ++two;
    ++two;
    CHECK(*one == 1);
    CHECK(*two == 4);
    range = copy;
    CHECK(all(range) == std::vector<int>{0, 1, 4, 9});
}

TEST_CASE("stages compose, and a function may take the position") {
    const std::vector<std::string> words{"a", "b", "c"};
    const auto numbered = [](std::string word, std::int64_t position) {
        return word + std::to_string(position);
    };
    const auto twice = [](const std::string& word) { return word + word; };
    CHECK(all(words | map(numbered)) == std::vector<std::string>{"a0", "b1", "c2"});
    CHECK(all(words | map(twice) | map(numbered)) == std::vector<std::string>{"aa0", "bb1", "cc2"});
    CHECK(all(words | map(numbered) | map(twice)) == std::vector<std::string>{"a0a0", "b1b1", "c2c2"});
    // Closures without a range, composed with those of range-v3.
    const auto stages = ranges::views::drop(1) | map(numbered) | map(twice) | ranges::views::take(1);
    CHECK(all(words | stages) == std::vector<std::string>{"b0b0"});
}

TEST_CASE("consecutive stages run on all threads of a prefetch after them") {
    // Every element waits until three of them are being made: with fewer threads this would not terminate.
    std::atomic<int> begun = 0;
    const auto meet = [&](int x) {
        ++begun;
        while (begun.load() < 3 * (x / 3 + 1)) std::this_thread::yield();
        return x;
    };
    auto range = numbers(9) | map(square) | map([](int x) { return x; }) |
                 map([&](int, std::int64_t position) { return meet(static_cast<int>(position)); }) |
                 prefetch({.workers = 3, .depth = 3});
    CHECK(all(range) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8});
}

TEST_CASE("lvalues are referenced, rvalues are stored, views of both libraries are copied") {
    std::vector<int> values{1, 2, 3};
    auto lent = values | map(square);
    values.push_back(4);
    CHECK(lent.size() == 4);
    CHECK(all(lent) == std::vector<int>{1, 4, 9, 16});
    auto kept = std::vector<int>{4, 5} | map(square);
    CHECK(all(kept) == std::vector<int>{16, 25});
    const auto copied = [&] {
        auto view = values | std::views::take(2);
        return view | map(square);
    };
    auto range = copied();
    CHECK(all(range) == std::vector<int>{1, 4});
    auto piped = values | std::views::transform([](int x) { return x + 1; }) | map(square);
    CHECK(all(piped) == std::vector<int>{4, 9, 16, 25});
    CHECK(all(values | map(square) | std::views::take(2)) == std::vector<int>{1, 4});
    // 64-bit numbers, from which range-v3 does not make a range of the standard library.
    auto wide =
        ranges::views::iota(std::int64_t{2}, std::int64_t{5}) | map([](std::int64_t x) { return x * x; });
    CHECK(wide.size() == 3);
    CHECK(all(wide) == std::vector<std::int64_t>{4, 9, 16});
}

TEST_CASE("move-only elements are moved") {
    std::vector<std::unique_ptr<int>> source;
    for (int i = 0; i < 3; ++i) source.push_back(std::make_unique<int>(i));
    auto range = source | ranges::views::move | map([](std::unique_ptr<int> value) {
                     ++*value;
                     return value;
                 });
    int expected = 1;
    for (const auto& value : range) CHECK(*value == expected++);
    CHECK(expected == 4);
    CHECK(source.front() == nullptr);
}

TEST_CASE("an exception is thrown where the element is dereferenced") {
    auto range = numbers(3) | map([](int x) {
                     if (x == 1) throw std::runtime_error("one");
                     return x;
                 });
    auto it = range.begin();
    CHECK(*it == 0);
    ++it;
    RETORT_CHECK_ERROR(std::runtime_error, *it, "one");
    ++it;
    CHECK(*it == 2);
}

TEST_CASE("elements are made without gradients and as normal tensors, whatever the modes of the thread") {
    const auto weight = torch::ones({2}, torch::requires_grad());
    auto range = numbers(2) | map([&](int x) { return weight * x; });
    {
        const c10::InferenceMode inference;
        for (const auto& value : range) CHECK_FALSE(value.is_inference());
    }
    for (const auto& value : range) CHECK_FALSE(value.requires_grad());
    CHECK(torch::GradMode::is_enabled());
}

}  // namespace map_test
