// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/data/mnist.hpp>

#include "files.hpp"

namespace mnist_test {

using retort::DataError;
using retort::data::fashion_mnist;
using retort::data::mnist;
using retort::data::Split;
using retort_test::bytes;
using retort_test::idx;
using retort_test::same;
using retort_test::TemporaryDirectory;
using retort_test::write_file;

namespace {

const std::string images = idx(8, {3, 2, 2}, bytes({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
const std::string labels = idx(8, {3}, bytes({9, 0, 5}));

void check_set(const retort::data::Dataset& set) {
    CHECK(same(set.inputs, torch::arange(1, 13).to(torch::kUInt8).view({3, 1, 2, 2})));
    CHECK(same(set.targets, torch::tensor({9, 0, 5}, torch::kInt64)));
    CHECK(set.classes == 10);
}

}  // namespace

TEST_CASE("MNIST is read under all published names") {
    const TemporaryDirectory directory;
    const auto first = GENERATE(as<std::string>{}, "train-", "t10k-");
    const auto infix = GENERATE(as<std::string>{}, "-", ".");
    const auto split = first == "train-" ? Split::train : Split::test;
    write_file(directory / (first + "images" + infix + "idx3-ubyte"), images);
    write_file(directory / (first + "labels" + infix + "idx1-ubyte"), labels);
    check_set(mnist(directory.path(), split));
    check_set(fashion_mnist(directory.path(), split));
    const auto other = split == Split::train ? Split::test : Split::train;
    RETORT_CHECK_ERROR(DataError, mnist(directory.path(), other), directory.path().string(), "none of them");
}

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
TEST_CASE("MNIST is read from compressed files, and from plain ones if both exist") {
    const TemporaryDirectory directory;
    write_file(directory / "train-images-idx3-ubyte.gz", retort_test::gzip(images));
    write_file(directory / "train-labels.idx1-ubyte.gz", retort_test::gzip(labels));
    check_set(mnist(directory.path(), Split::train));
    write_file(directory / "train-labels-idx1-ubyte", idx(8, {3}, bytes({1, 1, 1})));
    CHECK(same(mnist(directory.path(), Split::train).targets, torch::ones({3}, torch::kInt64)));
}
#endif

TEST_CASE("A directory that is not MNIST is refused") {
    const TemporaryDirectory directory;
    const auto images_path = directory / "train-images-idx3-ubyte";
    const auto labels_path = directory / "train-labels-idx1-ubyte";
    const auto read = [&] { return mnist(directory.path(), Split::train); };

    RETORT_CHECK_ERROR(DataError, mnist(directory / "nowhere", Split::train), "nowhere", "no such directory");
    write_file(directory / "file", "x");
    RETORT_CHECK_ERROR(DataError, mnist(directory / "file", Split::train), "a file instead of a directory");
    RETORT_CHECK_ERROR(DataError, read(), directory.path().string(), "train-images-idx3-ubyte",
                       "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte", "train-images.idx3-ubyte.gz");
    write_file(images_path, images);
    RETORT_CHECK_ERROR(DataError, read(), "train-labels-idx1-ubyte");

    write_file(labels_path, idx(8, {2}, bytes({1, 2})));
    RETORT_CHECK_ERROR(DataError, read(), labels_path.string(), images_path.string(), "at offset 4",
                       "that is 3", "found 2");
    write_file(labels_path, idx(8, {3}, bytes({1, 10, 2})));
    RETORT_CHECK_ERROR(DataError, read(), labels_path.string(), "at offset 9", "a label from 0 to 9",
                       "found 10");
    write_file(labels_path, idx(0x0c, {3}, std::string(12, '\0')));
    RETORT_CHECK_ERROR(DataError, read(), labels_path.string(), "at offset 2", "uint8 in 1 dimension", "Int");
    write_file(labels_path, images);
    RETORT_CHECK_ERROR(DataError, read(), labels_path.string(), "uint8 in 1 dimension", "in 3 dimensions");
    write_file(labels_path, labels);
    write_file(images_path, labels);
    RETORT_CHECK_ERROR(DataError, read(), images_path.string(), "at offset 2", "uint8 in 3 dimensions");
    write_file(images_path, idx(8, {0, 2, 2}, ""));
    RETORT_CHECK_ERROR(DataError, read(), images_path.string(), "at least one pixel");
    write_file(images_path, images.substr(0, images.size() - 1));
    RETORT_CHECK_ERROR(DataError, read(), images_path.string(), "at offset 16",
                       "12 bytes of data (3 x 2 x 2 of uint8)");
    write_file(images_path, "");
    RETORT_CHECK_ERROR(DataError, read(), images_path.string(), "empty file");
}

}  // namespace mnist_test
