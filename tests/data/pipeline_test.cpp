// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <atomic>
#include <ranges>
#include <vector>

#include <range/v3/range/conversion.hpp>
#include <range/v3/view/chunk.hpp>
#include <range/v3/view/concat.hpp>
#include <range/v3/view/enumerate.hpp>
#include <range/v3/view/filter.hpp>
#include <range/v3/view/iota.hpp>
#include <range/v3/view/take.hpp>
#include <range/v3/view/transform.hpp>

#include <retort/callback.hpp>
#include <retort/data.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

#include "files.hpp"

namespace pipeline_test {

using namespace retort_test;
namespace data = retort::data;
namespace views = ranges::views;
using retort::ConfigError;
using retort::CrossEntropy;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::Sgd;
using retort::Trainer;
using Batches = std::vector<data::Batch>;

namespace {

data::Dataset pictures(std::int64_t count = 20) {
    torch::manual_seed(11);
    return data::in_memory(torch::randint(256, {count, 3, 8, 8}, torch::kUInt8),
                           torch::arange(count).remainder(5), 5);
}
const auto weak = data::Compose{data::RandomCrop{.padding = 1}, data::ToUnitRange{}};
const auto strong =
    data::Compose{data::RandomCrop{.padding = 2}, data::HorizontalFlip{}, data::ToUnitRange{}};
const data::LoaderOptions options{.batch_size = 4, .seed = 8};

template <class Range>
auto all(Range&& range) {
    std::vector<std::remove_cvref_t<decltype(*range.begin())>> batches;
    for (auto&& batch : range) batches.push_back(batch);
    return batches;
}
template <class B>
bool equal(const std::vector<B>& a, const std::vector<B>& b) {
    bool result = a.size() == b.size();
    for (std::size_t i = 0; result && i < a.size(); ++i) {
        result =
            same(a[i].input, b[i].input) && same(a[i].target, b[i].target) && same(a[i].index, b[i].index);
        if constexpr (requires { a[i].strong; }) result = result && same(a[i].strong, b[i].strong);
    }
    return result;
}

/// A custom stage that mixes samples: it draws from the batch's random numbers.
struct Mixed {
    data::Batch operator()(data::Batch batch) const {
        auto generator = batch.random.next();
        const auto order = at::randperm(batch.input.size(0), generator, at::TensorOptions(at::kLong));
        batch.input = (batch.input + batch.input.index_select(0, order)) / 2;
        return batch;
    }
};

/// 12 samples of 4 numbers in 3 classes.
data::Loader<> vectors_loader() {
    auto generator = at::detail::createCPUGenerator(3);
    const auto inputs = torch::randn({12, 4}, generator);
    return data::Loader{data::in_memory(inputs, inputs.slice(1, 0, 3).argmax(1), 3),
                        {.batch_size = 2, .seed = 2}};
}
auto noisy(data::Batch batch) {
    auto generator = batch.random.next();
    batch.input = batch.input + torch::randn(batch.input.sizes(), generator);
    return batch;
}
template <class Source>
std::vector<torch::Tensor> trained(Source&& source, std::int64_t epochs = 2) {
    torch::manual_seed(1);
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    Sgd{.learning_rate = 0.1, .momentum = 0.9}};
    trainer.fit(source, {.epochs = epochs});
    return state(*student);
}

}  // namespace

TEST_CASE("an epoch as a view is the loader's epoch, and composes with the views of range-v3") {
    const data::Loader loader{pictures(), options, weak};
    const auto expected = all(loader(3));
    REQUIRE(expected.size() == 5);
    auto epoch = loader.epoch(3);
    CHECK(epoch.size() == 5);
    CHECK(equal(all(epoch), expected));
    CHECK(equal(all(epoch), expected));
    CHECK(equal(all(loader.epoch(3) | views::take(2)), Batches{expected[0], expected[1]}));
    CHECK((loader.epoch(3) | views::take(2)).size() == 2);

    const auto inputs =
        all(loader.epoch(3) | views::transform([](const data::Batch& batch) { return batch.input; }));
    for (std::size_t i = 0; i < 5; ++i) CHECK(same(inputs[i], expected[i].input));

    const auto has_first = [](const data::Batch& batch) { return batch.index.eq(0).any().item<bool>(); };
    const auto with_first = all(loader.epoch(3) | views::filter(has_first));
    REQUIRE(with_first.size() == 1);
    CHECK(has_first(with_first[0]));

    std::size_t number = 0;
    for (auto&& [at, batch] : loader.epoch(3) | views::enumerate) {
        CHECK(at == number);
        CHECK(same(batch.index, expected[number++].index));
    }
    CHECK(number == 5);

    std::vector<std::size_t> sizes;
    std::vector<torch::Tensor> joined;
    for (auto&& pair : loader.epoch(3) | views::chunk(2)) {
        std::vector<torch::Tensor> parts;
        for (auto& batch : pair) parts.push_back(batch.index);
        sizes.push_back(parts.size());
        joined.push_back(torch::cat(parts));
    }
    CHECK(sizes == std::vector<std::size_t>{2, 2, 1});
    CHECK(same(torch::cat(joined), data::epoch_order(20, {.seed = 8, .epoch = 3})));

    auto two = views::concat(loader.epoch(3), loader.epoch(4));
    CHECK(two.size() == 10);
    auto both = expected;
    for (const auto& batch : all(loader(4))) both.push_back(batch);
    CHECK(equal(all(two), both));
    CHECK(equal(all(views::concat(loader.epoch(3), loader.epoch(4)) | data::prefetch({.workers = 2})), both));

    CHECK(equal(all(loader.epoch(3) | std::views::take(2)), Batches{expected[0], expected[1]}));
    CHECK(equal(all(loader.epoch(3) | std::views::filter(has_first) | data::prefetch(2)), with_first));
}

TEST_CASE("the library's stages yield the same as the loader, whatever the threads") {
    const auto set = pictures();
    const data::Loader plain{set, options};
    const std::int64_t workers = GENERATE(0, 1, 3);
    const auto prefetch = data::prefetch({.workers = workers, .depth = 3});
    CHECK(equal(all(plain.epoch(2) | data::one_view(weak) | prefetch),
                all(data::Loader{set, options, weak}(2))));
    CHECK(equal(all(plain.epoch(2) | data::two_views(weak, strong) | prefetch),
                all(data::Loader{set, options, data::TwoViews{weak, strong}}(2))));
    CHECK(equal(all(plain.epoch(2) | prefetch | data::rotated_views(weak)),
                all(data::Loader{set, options, data::RotatedViews{weak}}(2))));
    CHECK(equal(all(plain.epoch(2, 3) | prefetch | data::rotated_views()),
                all(data::Loader{set, options, data::RotatedViews<>{}}(2, 3))));
    const auto moved =
        all(plain.epoch(2) | data::two_views(weak, strong) | data::to_device(torch::kMeta) | prefetch);
    REQUIRE(moved.size() == 5);
    CHECK((moved[4].input.is_meta() && moved[4].strong.is_meta() && moved[4].index.is_meta()));
    CHECK((plain.epoch(2) | views::take(4) | prefetch | data::two_views(weak, strong) |
           data::to_device(torch::kCPU))
              .size() == 4);
}

TEST_CASE("random numbers of several stages are independent, and the same in any pipeline") {
    const data::Loader loader{pictures(), options, weak};
    const auto reference = all(loader.epoch(1) | data::map(Mixed{}));
    const std::int64_t workers = GENERATE(0, 2);
    CHECK(equal(all(loader.epoch(1) | data::map(Mixed{}) | data::prefetch({.workers = workers})), reference));
    CHECK(equal(all(loader(1) | data::map(Mixed{})), reference));
    CHECK(equal(all(loader(1, 2) | data::map(Mixed{})), {reference.begin() + 2, reference.end()}));
    CHECK_FALSE(equal(all(loader.epoch(2) | data::map(Mixed{})), reference));
    // A stage used twice draws different numbers the second time.
    const data::Loader plain{pictures(), options};
    const auto drawn = [](data::Batch batch) {
        auto generator = batch.random.next();
        batch.input = torch::cat({batch.input.flatten().to(torch::kFloat), torch::rand({2}, generator)});
        return batch;
    };
    for (const auto& batch :
         plain.epoch(0) | data::map(drawn) | data::map(drawn) | data::map(drawn) | data::map(drawn)) {
        const auto numbers = batch.input.slice(0, -8);
        CHECK(std::get<0>(torch::_unique(numbers)).numel() == 8);
    }
}

TEST_CASE("a batch without random numbers is an error") {
    const data::Loader loader{pictures(), options};
    const auto forgetful = [](const data::Batch& batch) {
        return data::Batch{batch.input, batch.target, batch.index};
    };
    auto range = loader.epoch(0) | data::map(forgetful) | data::two_views(weak, strong) | data::prefetch(2);
    RETORT_CHECK_ERROR(ConfigError, range.begin(), "expected random numbers",
                       "must pass on its member `random`");
}

TEST_CASE("an error of a worker reaches the consumer in place of its batch") {
    const data::Loader loader{pictures(), options};
    const std::int64_t workers = GENERATE(0, 1, 3);
    auto range = loader.epoch(0) | data::map([](data::Batch batch, std::int64_t number) {
                     if (number == 2) throw retort::DataError("the third");
                     return batch;
                 }) |
                 data::to_device(torch::kCPU) | data::prefetch({.workers = workers});
    auto it = range.begin();
    ++it;
    RETORT_CHECK_ERROR(retort::DataError, ++it, "the third");
    CHECK(it == range.end());
    RETORT_CHECK_ERROR(retort::DataError, trained([&](std::int64_t epoch) {
                           return vectors_loader().epoch(epoch) |
                                  data::map([](data::Batch batch, std::int64_t number) {
                                      if (number == 2) throw retort::DataError("the third");
                                      return batch;
                                  }) |
                                  data::prefetch(2);
                       }),
                       "the third");
}

TEST_CASE("a partly consumed or unused pipeline ends without hanging") {
    const data::Loader loader{pictures(), options, weak};
    for (int round = 0; round < 50; ++round) {
        const data::PrefetchOptions ahead{.workers = round % 4, .depth = 1 + round % 3};
        auto range = loader.epoch(round) | data::prefetch(ahead) |
                     data::map([](data::Batch batch) { return batch; }) | data::prefetch(ahead) |
                     views::take(4);
        int left = round % 5;
        if (left == 4) continue;
        for ([[maybe_unused]] auto& batch : range) {
            if (left-- == 0) break;
        }
    }
    SUCCEED();
}

TEST_CASE("fit takes pipelines as ranges and by epoch") {
    const auto loader = vectors_loader();
    const auto expected = trained(loader);
    CHECK(
        same(trained([&](std::int64_t epoch) { return loader.epoch(epoch) | data::prefetch(2); }), expected));
    CHECK(same(trained([&](std::int64_t epoch, std::int64_t first) {
                   return loader.epoch(epoch, first) | data::prefetch({.workers = 2});
               }),
               expected));
    CHECK(same(trained([&](std::int64_t epoch) { return loader.epoch(epoch) | std::views::take(100); }),
               expected));
    CHECK(same(trained([&](std::int64_t epoch) {
                   return views::concat(loader.epoch(epoch) | views::take(2), loader.epoch(epoch, 2)) |
                          views::transform([](const data::Batch& b) { return std::pair(b.input, b.target); });
               }),
               expected));
    CHECK(same(trained([&](std::int64_t epoch) {
                   return views::iota(std::int64_t{0}, loader.size()) |
                          views::transform(
                              [&loader, epoch](std::int64_t n) { return *loader.epoch(epoch, n).begin(); });
               }),
               expected));
    const auto once = trained(loader, 1);
    CHECK(same(trained(loader.epoch(0), 1), once));
    CHECK(same(trained(loader.epoch(0) | data::prefetch(2), 1), once));
    CHECK(same(
        trained(loader.epoch(0) | data::prefetch(2) | views::filter([](const auto&) { return true; }), 1),
        once));
    auto lvalue = loader.epoch(0);
    CHECK(same(trained(lvalue, 1), once));
    // The same epoch can be repeated, but not with elements that are yielded once.
    CHECK_FALSE(same(trained(loader.epoch(0), 2), expected));
    RETORT_CHECK_ERROR(ConfigError, trained(loader.epoch(0) | data::prefetch(2), 2),
                       "the elements are yielded once");
}

TEST_CASE("a run on a pipeline resumes in the middle of an epoch, bit for bit") {
    const TemporaryDirectory directory;
    const auto loader = vectors_loader();
    std::atomic<int> made = 0;
    const auto counted = [&](data::Batch batch) {
        ++made;
        return noisy(std::move(batch));
    };
    const auto by_epoch = [&](std::int64_t epoch) {
        return loader.epoch(epoch) | data::map(counted) | data::prefetch({.workers = 2});
    };
    const auto from = [&](std::int64_t epoch, std::int64_t first) {
        return loader.epoch(epoch, first) | data::map(counted) | data::prefetch({.workers = 2});
    };
    const auto trainer_of = [](const Perceptron& student) {
        return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                       Sgd{.learning_rate = 0.1, .momentum = 0.9}};
    };
    torch::manual_seed(1);
    Perceptron whole, first, second;
    copy_state(*whole, *first);
    trainer_of(whole).fit(by_epoch, {.epochs = 2});
    const auto check = [&](const auto& source, int expected) {
        Perceptron start, again;
        copy_state(*first, *start);
        auto begun = trainer_of(start);
        begun.fit(source, {.epochs = 2}, retort::on_step_end([](retort::FitContext& context) {
                      return context.progress.epoch != 1 || context.progress.step != 4;
                  }));
        begun.save(directory / "middle");
        auto resumed = trainer_of(again);
        resumed.resume(directory / "middle");
        REQUIRE(resumed.progress().step == 4);
        made = 0;
        resumed.fit(source, {.epochs = 2});
        CHECK(same(state(*again), state(*whole)));
        CHECK(made.load() == expected);
    };
    check(by_epoch, 6);
    check(from, 2);
}

}  // namespace pipeline_test
