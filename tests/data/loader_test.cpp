// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <ATen/CPUGeneratorImpl.h>

#include <range/v3/range/conversion.hpp>
#include <range/v3/range/primitives.hpp>
#include <range/v3/view/take.hpp>

#include <set>

#include <retort/data/augment.hpp>
#include <retort/data/chunks.hpp>
#include <retort/data/epoch_order.hpp>
#include <retort/data/loader.hpp>
#include <retort/data/presets.hpp>
#include <retort/data/rotated_views.hpp>
#include <retort/data/two_views.hpp>

#include "files.hpp"

namespace loader_test {

using namespace retort::data;
using retort::ConfigError;
using retort::DataError;
using retort::ShapeError;
using retort_test::same;

namespace {

Dataset numbered(std::int64_t count) {
    return in_memory(torch::arange(count, torch::kFloat32).view({count, 1}),
                     torch::arange(count).remainder(3), 3);
}
Dataset pictures(std::int64_t count) {
    torch::manual_seed(11);
    return in_memory(torch::randint(256, {count, 3, 32, 32}, torch::kUInt8),
                     torch::arange(count).remainder(5), 5);
}

template <class Range>
auto all(Range&& range) {
    std::vector<std::remove_cvref_t<ranges::range_reference_t<Range>>> batches;
    for (auto& batch : range) batches.push_back(batch);
    return batches;
}

void check_same(const std::vector<retort::data::Batch>& a, const std::vector<retort::data::Batch>& b) {
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        CHECK(same(a[i].input, b[i].input));
        CHECK(same(a[i].target, b[i].target));
        CHECK(same(a[i].index, b[i].index));
    }
}

using Epoch = decltype(std::declval<const Loader<>&>()(0));
static_assert(ranges::input_range<Epoch> && ranges::sized_range<Epoch> && ranges::view_<Epoch>);
static_assert(std::ranges::input_range<Epoch> && std::ranges::sized_range<Epoch> && std::ranges::view<Epoch>);
static_assert(retort::LabeledBatch<retort::data::Batch> && retort::LabeledBatch<TwoViewBatch> &&
              retort::LabeledBatch<RotatedBatch>);

/// Returns which samples it was given.
struct Broken {
    at::Tensor operator()(const at::Tensor& images, at::Generator&) const {
        if (images.size(0) == 3) throw std::runtime_error("the transform's own");
        return images.narrow(0, 0, 1);
    }
};

}  // namespace

TEST_CASE("An epoch visits every sample once, with its target and number") {
    const std::int64_t batch_size = GENERATE(1, 3, 5, 10, 11, 64);
    const bool drop_last = batch_size <= 10 && GENERATE(false, true);
    const Loader loader{numbered(11), {.batch_size = batch_size, .drop_last = drop_last, .seed = 4}};
    const auto batches = all(loader(2));
    const auto expected = drop_last ? 11 / batch_size : (11 + batch_size - 1) / batch_size;
    CHECK(loader.size() == expected);
    CHECK(ranges::size(loader(2)) == static_cast<std::size_t>(expected));
    REQUIRE(static_cast<std::int64_t>(batches.size()) == expected);
    std::vector<torch::Tensor> indices;
    for (std::size_t b = 0; b < batches.size(); ++b) {
        const auto& batch = batches[b];
        const auto full = b + 1 < batches.size() || drop_last;
        CHECK(batch.input.size(0) == (full ? batch_size : 11 - (expected - 1) * batch_size));
        CHECK(same(batch.input.flatten(), batch.index.to(torch::kFloat32)));
        CHECK(same(batch.target, batch.index.remainder(3)));
        indices.push_back(batch.index);
    }
    const auto order = torch::cat(indices);
    CHECK(same(order, epoch_order(11, {.seed = 4, .epoch = 2}).narrow(0, 0, order.numel())));
}

TEST_CASE("Without shuffling the order is the data set's, every epoch") {
    const Loader loader{numbered(5), {.batch_size = 2, .shuffle = false}};
    for (const std::int64_t epoch : {0, 3}) {
        const auto batches = all(loader(epoch));
        REQUIRE(batches.size() == 3);
        CHECK(same(batches[0].index, torch::tensor({0, 1}, torch::kInt64)));
        CHECK(same(batches[2].index, torch::tensor({4}, torch::kInt64)));
    }
}

TEST_CASE("Batches do not depend on workers, depth, or earlier use") {
    const auto set = pictures(50);
    const auto transform =
        Compose{RandomCrop{}, HorizontalFlip{}, ColorJitter{}, RandomErasing{.area_high = 0.2}};
    const LoaderOptions options{.batch_size = 8, .seed = 5, .workers = 0};
    const Loader reference{set, options, transform};
    const auto third = all(reference(3));
    const auto second = all(reference(2));
    REQUIRE(third.size() == 7);
    CHECK_FALSE(same(third[0].index, second[0].index));

    const std::int64_t workers = GENERATE(0, 1, 2, 4);
    const std::int64_t depth = GENERATE(1, 2, 7);
    auto other = options;
    other.workers = workers;
    other.prefetch = depth;
    const Loader loader{set, other, transform};
    torch::manual_seed(static_cast<std::uint64_t>(workers * 10 + depth));
    for (auto& batch : loader(3)) {
        if (batch.input.defined()) break;  // an abandoned epoch changes nothing
    }
    // Out of order, and two epochs at the same time.
    auto one = loader(3);
    auto two = loader(2);
    auto at_one = one.begin();
    auto at_two = two.begin();
    std::vector<retort::data::Batch> ones;
    std::vector<retort::data::Batch> twos;
    for (; at_one != one.end(); ++at_one, ++at_two) {
        ones.push_back(*at_one);
        twos.push_back(*at_two);
    }
    check_same(ones, third);
    check_same(twos, second);
}

TEST_CASE(
    "Random numbers differ between epochs, batches and seeds, and the consumer's generator is unchanged") {
    const auto set = in_memory(torch::rand({1, 1, 32, 32}).expand({64, 1, 32, 32}), {}, 0);
    const auto inputs = [&](std::uint64_t seed, std::int64_t epoch) {
        const Loader loader{set, {.batch_size = 32, .shuffle = false, .seed = seed}, RandomCrop{}};
        return all(loader(epoch));
    };
    torch::manual_seed(1);
    const auto before = torch::rand({1});
    torch::manual_seed(1);
    const auto first = inputs(0, 0);
    CHECK(same(torch::rand({1}), before));
    CHECK_FALSE(same(first[0].input, first[1].input));
    CHECK_FALSE(same(first[0].input, inputs(0, 1)[0].input));
    CHECK_FALSE(same(first[0].input, inputs(1, 0)[0].input));
    CHECK(same(first[0].input, inputs(0, 0)[0].input));
}

TEST_CASE("A batch is a function of the data set, seed, epoch and its number") {
    const auto set = pictures(20);
    const auto weak = Compose{RandomCrop{}, HorizontalFlip{}};
    const auto strong = RandomErasing{.area_high = 0.2};
    const LoaderOptions options{.batch_size = 6, .seed = 8};
    const std::int64_t epoch = GENERATE(0, 3);
    const auto batches = all(Loader{set, options, TwoViews{weak, strong}}(epoch));
    const auto rotated = all(Loader{set, options, RotatedViews{weak}}(epoch));
    const auto pieces = chunks(epoch_order(20, {.seed = 8, .epoch = epoch}), 6);
    for (std::size_t b = 0; b < batches.size(); ++b) {
        const auto number = static_cast<std::int64_t>(b);
        const auto samples = set.inputs.index_select(0, pieces[number]);
        const auto generator = [&](std::uint64_t stream) {
            auto state = retort::detail::split_mix(stream);
            for (const std::uint64_t part : {std::uint64_t{8}, static_cast<std::uint64_t>(epoch), b})
                state = retort::detail::split_mix(state ^ retort::detail::split_mix(part));
            return at::detail::createCPUGenerator(state);
        };
        auto first = generator(2), second = generator(3);
        const auto plain = weak(samples, first);
        CHECK(same(batches[b].index, pieces[number]));
        CHECK(same(batches[b].input, plain));
        CHECK(same(batches[b].strong, strong(samples, second)));
        CHECK(same(rotated[b].input, retort::data::rotated(plain)));
    }
}

TEST_CASE("A loader's epochs can start at any batch, in order") {
    const auto set = pictures(20);
    const Loader loader{set, {.batch_size = 6, .seed = 8}, RandomCrop{}};
    const auto whole = all(loader(2));
    for (const std::int64_t first : {0, 1, 3, 4}) {
        auto rest = loader(2, first);
        CHECK(rest.size() == static_cast<std::size_t>(4 - first));
        check_same(all(rest), {whole.begin() + first, whole.end()});
        check_same(all(loader.epoch(2, first)), {whole.begin() + first, whole.end()});
    }
    RETORT_CHECK_ERROR(DataError, loader(2, 5), "from 0 to the 4 of an epoch", "found 5");
    RETORT_CHECK_ERROR(DataError, loader.epoch(2, -1), "found -1");
}

TEST_CASE("Data sets of other contents have other fingerprints") {
    using retort::data::Dataset;
    using retort::data::detail::fingerprint;
    const auto inputs = torch::arange(60, torch::kFloat).view({12, 5});
    const auto targets = torch::arange(12, torch::kLong);
    const std::string one = fingerprint({inputs, targets, 12});
    CHECK(one.size() == 16);
    CHECK(fingerprint({inputs.t().contiguous().t(), targets.clone(), 12}) == one);  // the same values
    std::set<std::string> all{one};
    for (std::int64_t i = 0; i < 12; ++i) {
        auto changed = inputs.clone(), other = targets.clone();
        changed[i][3] += 1;
        other[i] = (i + 1) % 12;
        all.insert(fingerprint({changed, targets, 12}));
        all.insert(fingerprint({inputs, other, 12}));
    }
    all.insert(fingerprint({inputs.view({12, 1, 5}), targets, 12}));
    all.insert(fingerprint({inputs.to(torch::kFloat64), targets, 12}));
    all.insert(fingerprint({inputs, {}, 0}));
    all.insert(fingerprint({inputs, targets, 13}));
    CHECK(all.size() == 1 + 24 + 4);

    // Of a large one not all samples are looked at: the first and the last are.
    const auto large = torch::zeros({5, 1 << 20}, torch::kByte);  // a megabyte a row, four rows at once
    const auto part = [&](std::int64_t row, std::int64_t most) {
        auto changed = large.clone();
        if (row >= 0) changed[row][7] = 1;
        return fingerprint({changed, {}, 0}, most);
    };
    CHECK(part(0, 1) != part(-1, 1));
    CHECK(part(4, 1) != part(-1, 1));
    CHECK(part(4, 1) == part(4, 1));
}

TEST_CASE("A description names everything that the batches depend on") {
    const auto set = numbered(12);
    const auto words = [&](const LoaderOptions& options, const auto& views) {
        return Loader{set, options, views}.description();
    };
    const std::string samples =
        "12 samples (contents " + retort::data::detail::fingerprint(set) + ") in batches of ";
    CHECK(Loader{set}.description() == samples + "64, shuffled, seed 0, NoTransform");
    CHECK(words({.batch_size = 5, .shuffle = false, .drop_last = true, .cycle = 3}, NoTransform{}) ==
          samples + "5, in order, full batches only, seed 0, a cycle of 3 epochs, NoTransform");
    // Workers and depth, which change no batch, are not part of it.
    CHECK(words({.workers = 3, .prefetch = 9}, NoTransform{}) == Loader{set}.description());
    const std::string before = samples + "64, shuffled, seed 0, ";
    const std::string crop = "RandomCrop{.padding = 4, .size = 0, .mode = zero}";
    CHECK(words({}, RandomCrop{}) == before + crop);
    CHECK(words({}, RotatedViews{RandomCrop{}}) == before + "RotatedViews{.transform = " + crop + "}");
    CHECK(words({}, TwoViews{.weak = RandomCrop{}, .strong = Cutout{}}) ==
          before + "TwoViews{.weak = " + crop + ", .strong = Cutout{.size = 8, .value = 0}}");
    CHECK(words({},
                Compose{RandomCrop{}, ToUnitRange{}, Normalize{.mean = {0.1, 0.25}, .deviation = {1, 2}}}) ==
          before + "Compose{" + crop + ", ToUnitRange, Normalize{.mean = {0.1, 0.25}, .deviation = {1, 2}}}");
    CHECK(words({}, HorizontalFlip{.probability = 0.1 + 0.2}) ==
          before + "HorizontalFlip{.probability = 0.30000000000000004}");
    CHECK(words({}, RandomCrop{.padding = 2, .size = 5, .mode = Padding::reflect}) ==
          before + "RandomCrop{.padding = 2, .size = 5, .mode = reflect}");
    CHECK(words({}, ColorJitter{}) ==
          before + "ColorJitter{.brightness = 0.4, .contrast = 0.4, .saturation = 0.4}");
    CHECK(words({}, RandomErasing{.aspect_high = 3}) ==
          before +
              "RandomErasing{.probability = 0.5, .area_low = 0.02, .area_high = 0.33, .aspect_low = 0.3, "
              ".aspect_high = 3, .value = 0}");
    CHECK(words({}, OneView{HorizontalFlip{}}) == words({}, HorizontalFlip{}));
    CHECK(words({}, Compose{}) == before + "Compose{}");
}

TEST_CASE("An epoch outlives its loader") {
    std::optional<Loader<Compose<RandomCrop, HorizontalFlip, Normalize>>> loader;
    loader.emplace(pictures(20), LoaderOptions{.batch_size = 4}, cifar100_train());
    const auto expected = all((*loader)(1));
    auto range = (*loader)(1);
    loader.reset();
    check_same(all(range), expected);
}

TEST_CASE("Samples without labels yield batches without targets") {
    const Loader loader{in_memory(torch::rand({4, 2}), {}, 0), {.batch_size = 3}};
    for (const auto& batch : loader(0)) {
        CHECK_FALSE(batch.target.defined());
        CHECK(batch.input.defined());
    }
}

TEST_CASE("Batches compose with the views of range-v3, and move to a device with all their tensors") {
    const Loader loader{numbered(10), {.batch_size = 2}};
    std::int64_t count = 0;
    for (auto&& batch : loader(0) | ranges::views::take(3)) count += batch.input.size(0);
    CHECK(count == 6);
    auto range = loader(0);
    const auto batch = *range.begin();
    const auto meta = retort::to_device(batch, torch::kMeta);
    CHECK(meta.input.is_meta());
    CHECK(meta.target.is_meta());
    CHECK(meta.index.is_meta());
    CHECK(retort::to_device(batch, torch::kCPU).index.is_same(batch.index));
}

TEST_CASE("Two views: the weak one is the loader's, the strong one has separate random numbers") {
    const auto set = pictures(20);
    const std::int64_t workers = GENERATE(0, 1, 3);
    const LoaderOptions options{.batch_size = 6, .seed = 8, .workers = workers};
    const Loader views{set, options, TwoViews{cifar100_train(), cifar100_strong()}};
    const auto batches = all(views(1));
    const auto weak = all(Loader{set, options, cifar100_train()}(1));
    REQUIRE(batches.size() == weak.size());
    CHECK(views.size() == 4);
    for (std::size_t b = 0; b < batches.size(); ++b) {
        CHECK(same(batches[b].input, weak[b].input));
        CHECK(same(batches[b].target, weak[b].target));
        CHECK(same(batches[b].index, weak[b].index));
        CHECK(batches[b].strong.sizes() == weak[b].input.sizes());
    }
    const auto again = all(Loader{
        set, {.batch_size = 6, .seed = 8, .workers = 2}, TwoViews{cifar100_train(), cifar100_strong()}}(1));
    for (std::size_t b = 0; b < batches.size(); ++b) CHECK(same(again[b].strong, batches[b].strong));
    // The same transform on both sides gets different random numbers.
    const auto twins = all(Loader{set, options, TwoViews{RandomCrop{}, RandomCrop{}}}(0));
    CHECK_FALSE(same(twins[0].input, twins[0].strong));
    const auto meta = retort::to_device(batches[0], torch::kMeta);
    CHECK(meta.input.is_meta());
    CHECK(meta.strong.is_meta());
    CHECK(meta.target.is_meta());
    CHECK(meta.index.is_meta());
}

TEST_CASE("Invalid loaders are refused on construction") {
    const auto set = numbered(5);
    using Options = LoaderOptions;
    RETORT_CHECK_ERROR(ConfigError, (Loader<>{set, Options{.batch_size = 0}}), "batch_size", "found 0");
    RETORT_CHECK_ERROR(ConfigError, (Loader<>{set, Options{.batch_size = -3}}), "batch_size", "found -3");
    RETORT_CHECK_ERROR(ConfigError, (Loader<>{set, Options{.workers = -1}}), "workers", "found -1");
    RETORT_CHECK_ERROR(ConfigError, (Loader<>{set, Options{.prefetch = 0}}), "depth", "found 0");
    RETORT_CHECK_ERROR(ConfigError, (Loader<>{set, Options{.batch_size = 6, .drop_last = true}}), "5 samples",
                       "a batch of 6", "drop_last");
    RETORT_CHECK_ERROR(DataError, (Loader<>{Dataset{}, Options{}}), "empty");
    RETORT_CHECK_ERROR(ConfigError, Loader{set}(-1), "epoch", "-1");
    RETORT_CHECK_ERROR(ConfigError,
                       (Loader{set, Options{.batch_size = 0}, TwoViews{NoTransform{}, NoTransform{}}}),
                       "batch_size");
}

TEST_CASE("A transform that fails, or returns another number of samples, is an error") {
    const auto set = numbered(8);
    const std::int64_t workers = GENERATE(0, 2);
    const Loader loader{set, {.batch_size = 5, .workers = workers}, Broken{}};
    auto range = loader(0);
    RETORT_CHECK_ERROR(ShapeError, range.begin(), "transform: expected one sample for each", "[5, 1]",
                       "[1, 1]");
    const Loader single{set, {.batch_size = 1, .workers = workers}, Broken{}};
    CHECK(all(single(0)).size() == 8);
    const Loader three{set, {.batch_size = 3, .workers = workers}, Broken{}};
    auto failing = three(0);
    RETORT_CHECK_ERROR(std::runtime_error, failing.begin(), "the transform's own");
}

TEST_CASE("A data set on a GPU yields the same batches as on the CPU") {
    if (!torch::cuda::is_available()) {
        WARN("no CUDA device here: skipped");
        return;
    }
    const auto set = pictures(40);
    const auto transform = Compose{RandomCrop{}, HorizontalFlip{}};
    const std::int64_t workers = GENERATE(0, 2);
    const LoaderOptions options{.batch_size = 16, .seed = 3, .workers = workers};
    const auto expected = all(Loader{set, options, transform}(1));
    const auto found = all(Loader{retort::to_device(set, torch::kCUDA), options, transform}(1));
    for (const auto& batch : found) CHECK(batch.input.is_cuda());
    check_same(found, expected);
}

}  // namespace loader_test
