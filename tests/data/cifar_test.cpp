// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/data/cifar.hpp>

#include "files.hpp"

namespace cifar_test {

using retort::DataError;
using retort::data::cifar10;
using retort::data::cifar100;
using retort::data::CifarLabels;
using retort::data::Split;
using retort_test::bytes;
using retort_test::same;
using retort_test::TemporaryDirectory;
using retort_test::write_file;

namespace {

/// One image whose pixels count up from `first`.
std::string image(const std::string& labels, int first) {
    std::string text = labels;
    for (int i = 0; i < 3072; ++i) text.push_back(static_cast<char>((first + i) % 251));
    return text;
}
torch::Tensor pixels(int first) {
    return torch::arange(first, first + 3072).remainder(251).to(torch::kUInt8);
}

void write_cifar10(const std::filesystem::path& directory) {
    for (int file = 1; file <= 5; ++file) {
        write_file(directory / ("data_batch_" + std::to_string(file) + ".bin"),
                   image(bytes({file}), 10 * file) + image(bytes({9}), 10 * file + 5));
    }
    write_file(directory / "test_batch.bin", image(bytes({7}), 3));
}

}  // namespace

TEST_CASE("CIFAR-10 is read, all files in order, from its directory or the one around it") {
    const TemporaryDirectory directory;
    const auto nested = GENERATE(false, true);
    const auto where = nested ? directory / "cifar-10-batches-bin" : directory.path();
    std::filesystem::create_directories(where);
    write_cifar10(where);
    const auto train = cifar10(directory.path(), Split::train, {.images_per_file = 2});
    CHECK(train.classes == 10);
    CHECK(same(train.targets, torch::tensor({1, 9, 2, 9, 3, 9, 4, 9, 5, 9}, torch::kInt64)));
    REQUIRE(train.inputs.sizes() == torch::IntArrayRef({10, 3, 32, 32}));
    for (int i = 0; i < 10; ++i)
        CHECK(same(train.inputs[i].flatten(), pixels(10 * (i / 2 + 1) + 5 * (i % 2))));
    const auto test = cifar10(directory.path(), Split::test, {.images_per_file = 0});
    CHECK(same(test.targets, torch::tensor({7}, torch::kInt64)));
    CHECK(same(test.inputs, pixels(3).view({1, 3, 32, 32})));
}

TEST_CASE("CIFAR-100 is read with fine or coarse labels") {
    const TemporaryDirectory directory;
    const auto nested = GENERATE(false, true);
    const auto where = nested ? directory / "cifar-100-binary" : directory.path();
    std::filesystem::create_directories(where);
    write_file(where / "train.bin",
               image(bytes({19, 99}), 0) + image(bytes({0, 42}), 1) + image(bytes({3, 0}), 2));
    write_file(where / "test.bin", image(bytes({4, 5}), 9));
    const auto fine = cifar100(directory.path(), Split::train, CifarLabels::fine, {.images_per_file = 3});
    CHECK(fine.classes == 100);
    CHECK(same(fine.targets, torch::tensor({99, 42, 0}, torch::kInt64)));
    for (int i = 0; i < 3; ++i) CHECK(same(fine.inputs[i].flatten(), pixels(i)));
    const auto coarse = cifar100(directory.path(), Split::train, CifarLabels::coarse, {.images_per_file = 0});
    CHECK(coarse.classes == 20);
    CHECK(same(coarse.targets, torch::tensor({19, 0, 3}, torch::kInt64)));
    CHECK(same(cifar100(directory.path(), Split::test, CifarLabels::fine, {.images_per_file = 1}).targets,
               torch::tensor({5}, torch::kInt64)));
}

TEST_CASE("What is no CIFAR is refused") {
    const TemporaryDirectory directory;
    const auto path = directory / "train.bin";
    const auto name = path.string();
    const auto read = [&](std::optional<std::int64_t> count = 0) {
        return cifar100(directory.path(), Split::train, CifarLabels::fine, {.images_per_file = count});
    };
    RETORT_CHECK_ERROR(DataError, read(), directory.path().string(),
                       "expected train.bin or cifar-100-binary/train.bin", "found neither");
    RETORT_CHECK_ERROR(DataError, cifar10(directory / "nowhere", Split::train), "data_batch_1.bin",
                       "no such directory");
    write_file(path, "");
    RETORT_CHECK_ERROR(DataError, read(), name, "an empty file");
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);
    RETORT_CHECK_ERROR(DataError, read(), name, "a directory");
    std::filesystem::remove(path);

    const auto good = image(bytes({1, 2}), 0);
    write_file(path, good + good.substr(0, 100));
    RETORT_CHECK_ERROR(DataError, read(), name, "at offset 3074", "a whole number of images of 3074 bytes",
                       "3174 bytes, that is 100 bytes of a last one");
    write_file(path, "short");
    RETORT_CHECK_ERROR(DataError, read(), name, "at offset 0", "found 5 bytes");
    // Cut off between two images: only the number of images tells.
    write_file(path, good + good);
    RETORT_CHECK_ERROR(DataError, read(3), name, "at offset 6148", "a file of 9222 bytes (3 images",
                       "found 6148 bytes");
    RETORT_CHECK_ERROR(DataError, read(1), name, "at offset 3074", "a file of 3074 bytes",
                       "found 6148 bytes");
    RETORT_CHECK_ERROR(DataError, read(std::nullopt), name,
                       "a file of 153700000 bytes (50000 images of 3074 bytes)");
    RETORT_CHECK_ERROR(retort::ConfigError, read(-1), "images_per_file", "-1");

    write_file(path, good + image(bytes({1, 100}), 0));
    RETORT_CHECK_ERROR(DataError, read(), name, "at offset 3075", "a fine label from 0 to 99", "found 100");
    write_file(path, good + good + image(bytes({20, 5}), 0));
    RETORT_CHECK_ERROR(DataError, read(), name, "at offset 6148", "a coarse label from 0 to 19", "found 20");

    write_cifar10(directory.path());
    std::filesystem::remove(directory / "data_batch_4.bin");
    RETORT_CHECK_ERROR(DataError, cifar10(directory.path(), Split::train, {.images_per_file = 2}),
                       "data_batch_4.bin", "No such file");
    write_file(directory / "data_batch_4.bin", image(bytes({10}), 0));
    RETORT_CHECK_ERROR(DataError, cifar10(directory.path(), Split::train, {.images_per_file = 2}),
                       "data_batch_4.bin", "a file of 6146 bytes (2 images of 3073 bytes)");
    RETORT_CHECK_ERROR(DataError, cifar10(directory.path(), Split::train, {.images_per_file = 0}),
                       "data_batch_4.bin", "at offset 0", "a label from 0 to 9", "found 10");
}

}  // namespace cifar_test
