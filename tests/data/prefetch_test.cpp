// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <condition_variable>
#include <set>
#include <thread>

#include <range/v3/range/conversion.hpp>
#include <range/v3/view/iota.hpp>
#include <range/v3/view/istream.hpp>
#include <range/v3/view/move.hpp>
#include <range/v3/view/take.hpp>
#include <range/v3/view/transform.hpp>

#include <retort/data/map.hpp>
#include <retort/data/prefetch.hpp>

#include "files.hpp"

namespace prefetch_test {

using retort::ConfigError;
using retort::data::map;
using retort::data::prefetch;
using retort::data::PrefetchOptions;

namespace {

const auto numbers = [](int count) { return ranges::views::iota(0, count); };
const auto square = [](int x) { return x * x; };
std::vector<int> squares(int count) {
    std::vector<int> values;
    for (int i = 0; i < count; ++i) values.push_back(i * i);
    return values;
}
const auto all_options = [] {
    return GENERATE(PrefetchOptions{.workers = 0, .depth = 1}, PrefetchOptions{.workers = 1, .depth = 1},
                    PrefetchOptions{.workers = 1, .depth = 2}, PrefetchOptions{.workers = 2, .depth = 1},
                    PrefetchOptions{.workers = 2, .depth = 3}, PrefetchOptions{.workers = 4, .depth = 16});
};

using Numbers = decltype(numbers(3) | map(square) | prefetch());
static_assert(ranges::input_range<Numbers> && ranges::view_<Numbers> && ranges::sized_range<Numbers>);
static_assert(!ranges::forward_range<Numbers>);
static_assert(std::ranges::input_range<Numbers> && std::ranges::view<Numbers> &&
              std::ranges::sized_range<Numbers>);
static_assert(!std::ranges::forward_range<Numbers>);
static_assert(!ranges::sized_range<decltype(std::declval<ranges::istream_view<int>>() | prefetch())>);

}  // namespace

TEST_CASE("Prefetched elements come in order, whatever the threads") {
    const auto options = all_options();
    const int count = GENERATE(0, 1, 2, 3, 100);
    auto range = numbers(count) | map(square) | prefetch(options);
    CHECK(range.size() == static_cast<std::size_t>(count));
    std::vector<int> found;
    for (const int value : range) found.push_back(value);
    CHECK(found == squares(count));
}

TEST_CASE("The order does not depend on which element takes longest") {
    // The first element waits until another thread has begun the second: it finishes last and yet comes
    // first.
    std::mutex mutex;
    std::condition_variable changed;
    int begun = 0;
    const auto function = [&](int x) {
        std::unique_lock lock(mutex);
        ++begun;
        changed.notify_all();
        if (x % 2 == 0) changed.wait(lock, [&] { return begun > x + 1; });
        return x;
    };
    auto range = numbers(20) | map(function) | prefetch({.workers = 2, .depth = 2});
    int expected = 0;
    for (const int value : range) CHECK(value == expected++);
    CHECK(expected == 20);
}

TEST_CASE("No more is made ahead than the depth allows") {
    const std::int64_t workers = GENERATE(1, 3);
    const std::int64_t depth = GENERATE(1, 2, 5);
    std::atomic<int> made = 0;
    auto range = numbers(50) | map([&](int x) {
                     ++made;
                     return x;
                 }) |
                 prefetch({.workers = workers, .depth = depth});
    int taken = 0;
    for (const int value : range) {
        ++taken;
        CHECK(value + 1 == taken);
        CHECK(made.load() >= taken);
        CHECK(made.load() <= taken + depth);
    }
    CHECK(made.load() == 50);
}

TEST_CASE("Elements are made ahead of use") {
    std::mutex mutex;
    std::condition_variable changed;
    int made = 0;
    auto range = numbers(10) | map([&](int x) {
                     const std::lock_guard lock(mutex);
                     ++made;
                     changed.notify_all();
                     return x;
                 }) |
                 prefetch({.workers = 1, .depth = 3});
    auto it = range.begin();
    CHECK(*it == 0);
    // Without further requests, three more are made. (Otherwise this waits forever.)
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return made == 4; });
    CHECK(made == 4);
}

TEST_CASE("Without workers everything is made on request, on the requesting thread") {
    std::set<std::thread::id> threads;
    int made = 0;
    auto range = numbers(5) | map([&](int x) {
                     threads.insert(std::this_thread::get_id());
                     ++made;
                     return x;
                 }) |
                 prefetch({.workers = 0});
    CHECK(made == 0);
    for (const int value : range) CHECK(made == value + 1);
    CHECK(threads == std::set<std::thread::id>{std::this_thread::get_id()});
}

TEST_CASE("An exception of the function comes in place of its element and ends the range") {
    const auto options = all_options();
    auto range = numbers(100) | map([](int x) {
                     if (x >= 7) throw std::runtime_error("element " + std::to_string(x));
                     return x;
                 }) |
                 prefetch(options);
    std::vector<int> found;
    std::string message;
    auto it = range.begin();
    try {
        for (; it != range.end(); ++it) found.push_back(*it);
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(found == std::vector<int>{0, 1, 2, 3, 4, 5, 6});
    CHECK(message == "element 7");
    CHECK(it == range.end());
    ++it;
    CHECK(it == range.end());
}

TEST_CASE("An exception of the first element is thrown from begin") {
    auto range =
        numbers(3) | map([](int) -> int { throw std::runtime_error("first"); }) | prefetch(all_options());
    RETORT_CHECK_ERROR(std::runtime_error, range.begin(), "first");
}

TEST_CASE("An exception of the source comes in place of its element and ends the range") {
    const auto options = all_options();
    const auto source = numbers(100) | ranges::views::transform([](int x) {
                            if (x == 5) throw std::runtime_error("source");
                            return x;
                        });
    auto range = source | map(square) | prefetch(options);
    std::vector<int> found;
    std::string message;
    try {
        for (const int value : range) found.push_back(value);
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(found == squares(5));
    CHECK(message == "source");
}

TEST_CASE("A range may be left early, or never started") {
    const auto options = all_options();
    std::atomic<int> running = 0;
    {
        auto range = numbers(1000) | map([&](int x) {
                         ++running;
                         const auto result = std::vector<int>(100, x);
                         --running;
                         return result;
                     }) |
                     prefetch(options);
        for (const auto& value : range) {
            if (value.front() == 3) break;
        }
    }
    CHECK(running.load() == 0);
    {
        const auto never = numbers(10) | map(square) | prefetch(options);
    }
    {
        // The consumer's own exception.
        auto range = numbers(100) | map(square) | prefetch(options);
        CHECK_THROWS_AS(
            [&] {
                for (const int value : range) throw value;
            }(),
            int);
    }
}

TEST_CASE("Many short-lived ranges leave nothing behind") {
    for (int round = 0; round < 300; ++round) {
        auto range = numbers(20) | map(square) | prefetch({.workers = round % 4, .depth = 1 + round % 3});
        int left = round % 22;
        for ([[maybe_unused]] const int value : range) {
            if (left-- == 0) break;
        }
    }
    SUCCEED();
}

TEST_CASE("Move-only elements are moved") {
    const auto options = all_options();
    const auto make = [](int x) { return std::make_unique<int>(x); };
    {
        auto range = numbers(10) | map(make) | prefetch(options);
        std::vector<std::unique_ptr<int>> kept;
        for (auto& value : range) kept.push_back(std::move(value));
        REQUIRE(kept.size() == 10);
        for (int i = 0; i < 10; ++i) CHECK(*kept[static_cast<std::size_t>(i)] == i);
    }
    {
        std::vector<std::unique_ptr<int>> source;
        for (int i = 0; i < 5; ++i) source.push_back(make(i));
        auto range = source | ranges::views::move | map([](std::unique_ptr<int> value) {
                         ++*value;
                         return value;
                     }) |
                     prefetch(options);
        int expected = 1;
        for (const auto& value : range) CHECK(*value == expected++);
        CHECK(expected == 6);
        CHECK(source.front() == nullptr);
    }
    {
        auto inner = numbers(10) | map(make) | prefetch(options);
        auto outer = inner | ranges::views::move |
                     map([](std::unique_ptr<int> value) { return *value * 2; }) | prefetch(options);
        int expected = 0;
        for (const int value : outer) CHECK(value == 2 * expected++);
        CHECK(expected == 10);
    }
}

TEST_CASE("Lvalues are referenced, rvalues are stored, views are copied") {
    const auto options = all_options();
    std::vector<int> values{1, 2, 3};
    auto lent = values | prefetch(options);
    values[1] = 20;  // not started yet
    CHECK((lent | ranges::to<std::vector>()) == std::vector<int>{1, 20, 3});
    auto owned = std::vector<int>{4, 5, 6} | map(square) | prefetch(options);
    CHECK(owned.size() == 3);
    CHECK((owned | ranges::to<std::vector>()) == std::vector<int>{16, 25, 36});
    const std::vector<int> constant{7, 8};
    CHECK((constant | prefetch(options) | ranges::to<std::vector>()) == std::vector<int>{7, 8});
}

TEST_CASE("Single-pass sources work, and elements do not change when the source moves on") {
    const auto options = all_options();
    std::istringstream stream("1 2 3 4 5");
    auto range = ranges::istream_view<int>(stream) | map(square) | prefetch(options);
    CHECK((range | ranges::to<std::vector>()) == std::vector<int>{1, 4, 9, 16, 25});
}

TEST_CASE("Prefetched ranges compose with the views of range-v3, and copies share the range") {
    const auto options = all_options();
    auto range = numbers(100) | map(square) | prefetch(options);
    auto copy = range;
    CHECK((range | ranges::views::transform([](int x) { return x + 1; }) | ranges::views::take(3) |
           ranges::to<std::vector>()) == std::vector<int>{1, 2, 5});
    RETORT_CHECK_ERROR(ConfigError, copy.begin(), "once");
}

TEST_CASE("A function may take the position") {
    const auto options = all_options();
    const std::vector<std::string> words{"a", "b", "c"};
    auto range =
        words | map([](std::string word, std::int64_t position) { return word + std::to_string(position); }) |
        prefetch(options);
    CHECK((range | ranges::to<std::vector>()) == std::vector<std::string>{"a0", "b1", "c2"});
}

TEST_CASE("Elements are made without gradients and as normal tensors, whatever the consumer's modes") {
    const auto options = all_options();
    const auto weight = torch::ones({2}, torch::requires_grad());
    {
        const c10::InferenceMode inference;
        auto range = numbers(3) | map([&](int x) { return weight * x; }) | prefetch(options);
        for (const auto& value : range) {
            CHECK_FALSE(value.requires_grad());
            CHECK_FALSE(value.is_inference());
        }
    }
    auto range = numbers(3) | map([&](int x) { return weight * x; }) | prefetch(options);
    for (const auto& value : range) CHECK_FALSE(value.requires_grad());
    auto source =
        numbers(3) | ranges::views::transform([&](int x) { return weight * x; }) | prefetch(options);
    for (const auto& value : source) CHECK_FALSE(value.requires_grad());
    CHECK(torch::GradMode::is_enabled());
}

TEST_CASE("Options out of range, and empty views, are refused") {
    RETORT_CHECK_ERROR(ConfigError, prefetch({.workers = -1}), "workers", "-1");
    RETORT_CHECK_ERROR(ConfigError, prefetch({.workers = 1, .depth = 0}), "depth", "found 0");
    RETORT_CHECK_ERROR(ConfigError, Numbers{}.begin(), "empty");
    RETORT_CHECK_ERROR(ConfigError, prefetch(0), "depth", "found 0");
}

}  // namespace prefetch_test
