// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/data/augment.hpp>
#include <retort/data/concept.hpp>

#include "files.hpp"

namespace augment_test {

using namespace retort::data;
using retort::ConfigError;
using retort::ShapeError;
using retort_test::close;
using retort_test::same;

namespace {

at::Generator generator(std::uint64_t seed = 1) { return at::detail::createCPUGenerator(seed); }
torch::Tensor numbered(std::int64_t count, std::int64_t channels, std::int64_t height, std::int64_t width) {
    return torch::arange(count * channels * height * width, torch::kFloat32)
        .view({count, channels, height, width});
}
/// Calls a transform with a fresh generator.
template <class T>
torch::Tensor apply(const T& transform, const torch::Tensor& images, std::uint64_t seed = 1) {
    auto numbers = generator(seed);
    return transform(images, numbers);
}

struct NotConst {
    at::Tensor operator()(const at::Tensor& images, at::Generator&) { return images; }
};
struct GivesNothing {
    void operator()(const at::Tensor&, at::Generator&) const {}
};

}  // namespace

static_assert(Transform<NoTransform> && Transform<RandomCrop> && Transform<HorizontalFlip> &&
              Transform<Normalize>);
static_assert(Transform<ToUnitRange> && Transform<ColorJitter> && Transform<Cutout> &&
              Transform<RandomErasing>);
static_assert(Transform<Compose<>> && Transform<Compose<RandomCrop, Compose<HorizontalFlip>>>);
static_assert(!Transform<NotConst> && !Transform<GivesNothing> && !Transform<int>);

TEST_CASE("A crop is the window of the padded image that its two random numbers select") {
    const auto mode = GENERATE(Padding::zero, Padding::reflect);
    const auto type = GENERATE(torch::kUInt8, torch::kFloat32, torch::kFloat64);
    const auto images = torch::randint(1, 256, {200, 3, 7, 5}).to(type);
    const RandomCrop crop{.padding = 2, .mode = mode};
    const auto result = apply(crop, images);
    REQUIRE(result.sizes() == images.sizes());
    REQUIRE(result.scalar_type() == type);
    // The same numbers, drawn in the same order, and one image at a time.
    auto numbers = generator();
    const auto top = at::randint(5, {200}, numbers, torch::kInt64);
    const auto left = at::randint(5, {200}, numbers, torch::kInt64);
    for (std::int64_t i = 0; i < 200; ++i) {
        for (std::int64_t y = 0; y < 7; ++y) {
            auto row = y + top[i].item<std::int64_t>() - 2;
            auto expected = torch::zeros({3, 5}, type);
            for (std::int64_t x = 0; x < 5; ++x) {
                auto column = x + left[i].item<std::int64_t>() - 2;
                auto from = row;
                if (mode == Padding::reflect) {
                    from = from < 0 ? -from : from > 6 ? 12 - from : from;
                    column = column < 0 ? -column : column > 4 ? 8 - column : column;
                }
                if (from < 0 || from > 6 || column < 0 || column > 4) continue;
                expected.select(1, x).copy_(images[i].select(1, from).select(1, column));
            }
            if (!torch::equal(result[i].select(1, y), expected)) FAIL("image " << i << ", row " << y);
        }
    }
}

TEST_CASE("Mirrored padding is LibTorch's") {
    const auto images = torch::rand({2, 3, 6, 5});
    const RandomCrop crop{.padding = 4, .size = 13, .mode = Padding::reflect};
    const auto padded = torch::reflection_pad2d(images, {4, 4, 4, 4});
    const auto result = apply(crop, images);
    auto numbers = generator();
    const auto top = at::randint(2, {2}, numbers, torch::kInt64);
    for (std::int64_t i = 0; i < 2; ++i) {
        CHECK(same(result[i], padded[i].narrow(1, top[i].item<std::int64_t>(), 13).narrow(2, 0, 13)));
    }
}

TEST_CASE("Crops take every position, equally often") {
    // Pixels hold their positions: the corner of a window tells where it was.
    const auto images = (numbered(1, 1, 9, 9) + 1).expand({8100, 1, 9, 9});
    const auto corner = apply(RandomCrop{.padding = 0, .size = 1}, images).flatten().to(torch::kInt64) - 1;
    const auto counts = torch::bincount(corner, {}, 81);
    // 100 on average, with a standard deviation of 9.9.
    CHECK(counts.min().item<std::int64_t>() > 55);
    CHECK(counts.max().item<std::int64_t>() < 150);
    const auto padded = apply(RandomCrop{.padding = 4}, torch::ones({8100, 1, 9, 9}));
    // The offsets from -4 to 4 leave between 5 and 9 rows of the image in the window.
    const auto rows = padded.amax({1, 3}).sum(1).to(torch::kInt64);
    const auto by_rows = torch::bincount(rows, {}, 10);
    CHECK(by_rows.narrow(0, 0, 5).sum().item<std::int64_t>() == 0);
    for (int left = 5; left < 9; ++left) CHECK(std::abs(by_rows[left].item<std::int64_t>() - 1800) < 200);
    CHECK(std::abs(by_rows[9].item<std::int64_t>() - 900) < 150);
}

TEST_CASE("A crop without padding and of full size changes nothing") {
    const auto images = torch::rand({4, 3, 5, 6});
    CHECK(same(apply(RandomCrop{.padding = 0}, images), images));
    CHECK(apply(RandomCrop{.padding = 1, .size = 3}, images).sizes() == torch::IntArrayRef({4, 3, 3, 3}));
}

TEST_CASE("Flips mirror each image independently, with the given probability") {
    const auto images = torch::rand({4000, 2, 3, 4});
    const double probability = GENERATE(0.0, 0.25, 0.5, 1.0);
    const auto result = apply(HorizontalFlip{probability}, images);
    const auto mirrored = images.flip({3});
    const auto stays = result.eq(images).flatten(1).all(1);
    const auto turns = result.eq(mirrored).flatten(1).all(1);
    CHECK(stays.logical_xor(turns).all().item<bool>());
    const auto part = turns.to(torch::kFloat64).mean().item<double>();
    // A standard deviation of at most 0.008.
    CHECK(std::abs(part - probability) < (probability == 0.0 || probability == 1.0 ? 1e-9 : 0.04));
    CHECK(same(apply(HorizontalFlip{1.0}, (images * 255).to(torch::kUInt8)),
               (mirrored * 255).to(torch::kUInt8)));
}

TEST_CASE("Images are normalized channel by channel") {
    const Normalize normalize{.mean = {0.5, 0.25}, .deviation = {0.5, 0.125}};
    const auto images = torch::tensor({0, 255, 51, 102}, torch::kUInt8).view({1, 2, 1, 2});
    CHECK(close(apply(normalize, images), torch::tensor({-1.0, 1.0, -0.4, 1.2}).view({1, 2, 1, 2}), 1e-6,
                1e-6));
    CHECK(apply(normalize, images).scalar_type() == torch::kFloat32);
    const auto fractions = torch::tensor({0.0, 1.0, 0.2, 0.4}, torch::kFloat64).view({1, 2, 1, 2});
    const auto copy = fractions.clone();
    const auto result = apply(normalize, fractions);
    CHECK(result.scalar_type() == torch::kFloat64);
    CHECK(close(result, torch::tensor({-1.0, 1.0, -0.4, 1.2}, torch::kFloat64).view({1, 2, 1, 2}), 1e-12));
    CHECK(same(fractions, copy));
}

TEST_CASE("uint8 is divided to the unit range") {
    CHECK(close(apply(ToUnitRange{}, torch::tensor({0, 51, 255}, torch::kUInt8)),
                torch::tensor({0.0, 0.2, 1.0}), 1e-6));
    const auto floats = torch::rand({3});
    CHECK(same(apply(ToUnitRange{}, floats), floats));
    RETORT_CHECK_ERROR(ShapeError, apply(ToUnitRange{}, torch::zeros({3}, torch::kInt64)), "uint8", "Long");
}

TEST_CASE("Color jitter follows its formulas, image by image") {
    const auto channels = GENERATE(1, 3);
    const auto images = torch::rand({50, channels, 4, 3});
    const auto copy = images.clone();
    const ColorJitter jitter{.brightness = 0.4, .contrast = 1.5, .saturation = 0.3};
    const auto result = apply(jitter, images);
    CHECK(same(images, copy));
    auto numbers = generator();
    const auto draw = [&](double low, double high) {
        return at::rand({50}, numbers, torch::kFloat32) * (high - low) + low;
    };
    const auto brightness = draw(0.6, 1.4);
    const auto contrast = draw(0.0, 2.5);
    const auto saturation = channels == 3 ? draw(0.7, 1.3) : torch::ones({50});
    for (std::int64_t i = 0; i < 50; ++i) {
        const auto gray = [](const torch::Tensor& image) {
            return image.size(0) == 1 ? image[0] : 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2];
        };
        auto expected = (images[i] * brightness[i]).clamp(0, 1);
        expected = (contrast[i] * expected + (1 - contrast[i]) * gray(expected).mean()).clamp(0, 1);
        if (channels == 3)
            expected = (saturation[i] * expected + (1 - saturation[i]) * gray(expected)).clamp(0, 1);
        CHECK(close(result[i], expected, 1e-5, 1e-5));
    }
    // The numbers differ between images.
    CHECK(std::get<0>(at::_unique(brightness)).numel() > 40);
}

TEST_CASE("Color jitter takes uint8, stays from 0 to 1, and options of 0 leave images unchanged") {
    const auto images = torch::randint(256, {20, 3, 4, 4}, torch::kUInt8);
    const auto result = apply(ColorJitter{.brightness = 2.0, .contrast = 2.0, .saturation = 2.0}, images);
    CHECK(result.scalar_type() == torch::kFloat32);
    CHECK(result.min().item<float>() >= 0.0F);
    CHECK(result.max().item<float>() <= 1.0F);
    const auto floats = torch::rand({2, 3, 2, 2});
    CHECK(same(apply(ColorJitter{.brightness = 0, .contrast = 0, .saturation = 0}, floats), floats));
}

TEST_CASE("Cutout blanks one square per image, also across the border, at every position") {
    const std::int64_t size = GENERATE(3, 4);
    const auto images = torch::ones({6000, 2, 10, 8});
    const auto result = apply(Cutout{.size = size, .value = -2.0}, images);
    auto numbers = generator();
    const auto y = at::randint(10, {6000}, numbers, torch::kInt64);
    const auto x = at::randint(8, {6000}, numbers, torch::kInt64);
    for (std::int64_t i = 0; i < 500; ++i) {
        auto expected = images[i].clone();
        const auto center_y = y[i].item<std::int64_t>();
        const auto center_x = x[i].item<std::int64_t>();
        for (auto row = std::max<std::int64_t>(0, center_y - size / 2);
             row < std::min<std::int64_t>(10, center_y - size / 2 + size); ++row) {
            for (auto column = std::max<std::int64_t>(0, center_x - size / 2);
                 column < std::min<std::int64_t>(8, center_x - size / 2 + size); ++column) {
                expected.select(1, row).select(1, column).fill_(-2.0);
            }
        }
        if (!torch::equal(result[i], expected)) FAIL("image " << i);
    }
    // Every pixel is blanked somewhere and kept somewhere.
    const auto blanked = result.lt(0).select(1, 0).to(torch::kFloat32).mean(0);
    CHECK(blanked.min().item<float>() > 0.0F);
    CHECK(blanked.max().item<float>() < 0.5F);
    CHECK(apply(Cutout{.size = 2, .value = 7}, torch::zeros({3, 1, 4, 4}, torch::kUInt8)).scalar_type() ==
          torch::kUInt8);
    CHECK(apply(Cutout{.size = 100}, images).abs().max().item<float>() == 0.0F);
}

TEST_CASE("Random erasing blanks one rectangle of the given area and aspect ratio") {
    const RandomErasing erasing{.probability = 0.3, .area_low = 0.1, .area_high = 0.2, .value = 5.0};
    const auto images = torch::zeros({4000, 3, 40, 30});
    const auto result = apply(erasing, images);
    const auto blank = result.eq(5.0).all(1);
    CHECK(same(blank, result.eq(5.0).any(1)));
    const auto erased = blank.flatten(1).any(1);
    CHECK(std::abs(erased.to(torch::kFloat64).mean().item<double>() - 0.3) < 0.04);
    const auto chosen = blank.index({erased}).to(torch::kFloat64);
    const auto heights = chosen.amax(2).sum(1);
    const auto widths = chosen.amax(1).sum(1);
    const auto areas = chosen.sum({1, 2});
    CHECK(same(areas, heights * widths));  // it is a rectangle
    // 1200 pixels; sides are rounded to whole pixels.
    CHECK(areas.min().item<double>() > 100);
    CHECK(areas.max().item<double>() < 265);
    CHECK(std::abs(areas.mean().item<double>() - 180) < 10);
    const auto aspect = heights / widths;
    CHECK(aspect.min().item<double>() > 0.25);
    CHECK(aspect.max().item<double>() < 4.0);
    CHECK(std::abs(aspect.log().mean().item<double>()) < 0.1);
    // It reaches every corner, and never covers everything.
    CHECK(chosen.mean(0).min().item<double>() > 0.0);
    CHECK(same(apply(RandomErasing{.probability = 0.0}, images), images));
    CHECK(apply(RandomErasing{.probability = 1.0,
                              .area_low = 1.0,
                              .area_high = 1.0,
                              .aspect_low = 1.0,
                              .aspect_high = 1.0,
                              .value = 1.0},
                torch::zeros({2, 1, 8, 8}))
              .min()
              .item<float>() == 1.0F);
}

TEST_CASE("Composed transforms run in order and share the generator") {
    const auto images = torch::randint(256, {32, 3, 8, 8}, torch::kUInt8);
    const RandomCrop crop{.padding = 2};
    const HorizontalFlip flip{};
    const Normalize normalize{.mean = {0.1, 0.2, 0.3}, .deviation = {0.4, 0.5, 0.6}};
    auto numbers = generator(9);
    const auto expected = normalize(flip(crop(images, numbers), numbers), numbers);
    CHECK(same(apply(Compose{crop, flip, normalize}, images, 9), expected));
    CHECK(same(apply(Compose{Compose{crop, flip}, normalize}, images, 9), expected));
    CHECK(same(apply(Compose{}, images), images));
}

TEST_CASE(
    "Every transform is a function of the generator, does not write to its images, and takes a batch of "
    "one") {
    const auto check = [](const auto& transform) {
        const auto images = torch::rand({16, 3, 12, 12});
        const auto copy = images.clone();
        const auto result = apply(transform, images, 4);
        CHECK(same(images, copy));
        CHECK(same(apply(transform, images, 4), result));
        CHECK_FALSE(same(apply(transform, images, 5), result));
        CHECK(apply(transform, images.narrow(0, 0, 1)).size(0) == 1);
        CHECK(apply(transform, images.narrow(0, 0, 0)).size(0) == 0);
        // No operator waits for a device.
        retort_test::OperatorCount count;
        apply(transform, images);
        count.stop();
        CHECK(count.total() > 0);
        CHECK(count.of("aten::_local_scalar_dense") == 0);
        CHECK(count.of("aten::item") == 0);
    };
    check(RandomCrop{});
    check(RandomCrop{.mode = Padding::reflect});
    check(HorizontalFlip{});
    check(ColorJitter{});
    check(Cutout{});
    check(RandomErasing{});
}

TEST_CASE("Invalid options and images are refused") {
    const auto images = torch::rand({2, 3, 8, 8});
    const auto flat = torch::rand({2, 8});
    RETORT_CHECK_ERROR(ShapeError, apply(RandomCrop{}, flat), "RandomCrop",
                       "batch x channels x height x width", "[2, 8]");
    RETORT_CHECK_ERROR(ShapeError, apply(HorizontalFlip{}, flat), "HorizontalFlip");
    RETORT_CHECK_ERROR(ShapeError, apply(ColorJitter{}, flat), "ColorJitter");
    RETORT_CHECK_ERROR(ShapeError, apply(Cutout{}, flat), "Cutout");
    RETORT_CHECK_ERROR(ShapeError, apply(RandomErasing{}, flat), "RandomErasing");
    RETORT_CHECK_ERROR(ConfigError, apply(RandomCrop{.padding = -1}, images), "RandomCrop", "-1");
    RETORT_CHECK_ERROR(ConfigError, apply(RandomCrop{.size = -2}, images), "-2");
    RETORT_CHECK_ERROR(ShapeError, apply(RandomCrop{.padding = 1, .size = 11}, images), "11 x 11",
                       "padding by 1");
    RETORT_CHECK_ERROR(ShapeError, apply(RandomCrop{.padding = 8, .mode = Padding::reflect}, images),
                       "more than 8");
    RETORT_CHECK_ERROR(ConfigError, apply(HorizontalFlip{1.5}, images), "probability", "1.5");
    RETORT_CHECK_ERROR(ConfigError, apply(HorizontalFlip{std::nan("")}, images), "probability");
    RETORT_CHECK_ERROR(ConfigError, apply(Normalize{}, images), "Normalize", "at least one");
    RETORT_CHECK_ERROR(ConfigError, apply(Normalize{{0.1, 0.2, 0.3}, {1.0, 1.0}}, images), "found 2 and 3");
    RETORT_CHECK_ERROR(ConfigError, apply(Normalize{{0.1, 0.2, 0.3}, {1.0, 0.0, 1.0}}, images), "channel 1");
    RETORT_CHECK_ERROR(ShapeError, apply(Normalize{{0.1}, {1.0}}, images), "1 channels", "[2, 3, 8, 8]");
    RETORT_CHECK_ERROR(ConfigError, apply(ColorJitter{.contrast = -0.1}, images), "ColorJitter", "-0.1");
    RETORT_CHECK_ERROR(ShapeError, apply(ColorJitter{}, torch::rand({2, 4, 8, 8})), "1 or 3 channels");
    RETORT_CHECK_ERROR(ConfigError, apply(Cutout{.size = 0}, images), "Cutout", "found 0");
    RETORT_CHECK_ERROR(ConfigError, apply(RandomErasing{.probability = 2}, images), "probability");
    RETORT_CHECK_ERROR(ConfigError, apply(RandomErasing{.area_low = 0.0}, images), "area_low");
    RETORT_CHECK_ERROR(ConfigError, apply(RandomErasing{.area_high = 1.5}, images), "area_high");
    RETORT_CHECK_ERROR(ConfigError, apply(RandomErasing{.aspect_low = 5.0}, images), "aspect_low");
}

}  // namespace augment_test
