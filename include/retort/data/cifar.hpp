// SPDX-License-Identifier: BSL-1.0
/// \file
/// CIFAR-10 and CIFAR-100 in their binary versions.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/detail/file.hpp>
#include <retort/data/split.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/mapped_file.hpp>

namespace retort::data {

/// Which of the two labels of a CIFAR-100 image.
enum class CifarLabels {
    fine,   ///< 100 classes
    coarse  ///< 20 classes of 5 fine ones each
};

/// How to read CIFAR files.
struct CifarOptions {
    /// The number of images in each file. Unset: as published (10000 per file of CIFAR-10; 50000 and 10000
    /// for CIFAR-100), so that a file truncated between two images is detected too. 0: as many as the file
    /// contains.
    std::optional<std::int64_t> images_per_file = std::nullopt;
};

namespace detail {

inline constexpr std::int64_t cifar_pixels = std::int64_t{3} * 32 * 32;

/// One label byte of a record: what it is called and how many values it can take.
struct CifarLabel {
    const char* name;
    int classes;
};

/// The directory itself or its subdirectory with the name from the archive, whichever contains `file`.
inline std::filesystem::path cifar_directory(const std::filesystem::path& directory,
                                             const std::string& unpacked, const std::string& file) {
    std::error_code ignored;
    for (const auto& candidate : {directory, directory / unpacked}) {
        if (std::filesystem::exists(candidate / file, ignored)) return candidate;
    }
    const auto* found = !std::filesystem::exists(directory, ignored)         ? "no such directory"
                        : !std::filesystem::is_directory(directory, ignored) ? "a file instead of a directory"
                                                                             : "neither";
    throw DataError(::retort::detail::concat(directory.string(), ": expected ", file, " or ",
                                             (std::filesystem::path(unpacked) / file).string(), ", found ",
                                             found));
}

/// Reads files of records of label bytes and 3072 pixels each, and keeps label number `chosen`.
inline Dataset read_cifar(const std::vector<std::filesystem::path>& paths,
                          const std::vector<CifarLabel>& labels, std::size_t chosen,
                          std::int64_t images_per_file) {
    using ::retort::detail::concat;
    const auto record = static_cast<std::uint64_t>(cifar_pixels) + labels.size();
    // The size of every file is checked before the first is read, so that no memory is allocated for missing data.
    std::vector<::retort::detail::MappedFile> files;
    std::vector<std::int64_t> counts;
    std::int64_t total = 0;
    for (const auto& path : paths) {
        const std::uint64_t size = files.emplace_back(data_file(path)).bytes().size();
        const auto count = size / record;
        const auto found = concat(size, " bytes");
        if (images_per_file > 0 && size != record * static_cast<std::uint64_t>(images_per_file)) {
            const auto expected = record * static_cast<std::uint64_t>(images_per_file);
            malformed(
                path, std::min(expected, size),
                concat("a file of ", expected, " bytes (", images_per_file, " images of ", record, " bytes)"),
                found);
        }
        if (size % record != 0) {
            malformed(path, count * record, concat("a whole number of images of ", record, " bytes"),
                      concat(found, ", that is ", size % record, " bytes of a last one"));
        }
        counts.push_back(static_cast<std::int64_t>(count));
        total += counts.back();
    }
    auto images = at::empty({total, 3, 32, 32}, at::TensorOptions(at::kByte));
    auto targets = at::empty({total}, at::TensorOptions(at::kLong));
    auto* pixels = images.data_ptr<std::uint8_t>();
    auto* target = targets.data_ptr<std::int64_t>();
    for (std::size_t f = 0; f < paths.size(); ++f) {
        ::retort::detail::ByteReader reader(files[f].bytes());
        for (std::int64_t i = 0; i < counts[f]; ++i) {
            const auto start = reader.position();
            const std::string_view image = reader.take(record, "an image");
            for (std::size_t l = 0; l < labels.size(); ++l) {
                const int label = static_cast<unsigned char>(image[l]);
                if (label >= labels[l].classes) {
                    malformed(paths[f], start + l,
                              concat("a ", labels[l].name, " from 0 to ", labels[l].classes - 1),
                              concat(label));
                }
            }
            *target++ = static_cast<unsigned char>(image[chosen]);
            std::memcpy(pixels, image.data() + labels.size(), static_cast<std::size_t>(cifar_pixels));
            pixels += cifar_pixels;
        }
    }
    return in_memory(std::move(images), std::move(targets), labels[chosen].classes);
}

inline std::int64_t cifar_count(const CifarOptions& options, std::int64_t published) {
    const auto count = options.images_per_file.value_or(published);
    if (count < 0) {
        throw ConfigError(
            ::retort::detail::concat("cifar: expected images_per_file of 0 (any) or more, found ", count));
    }
    return count;
}

}  // namespace detail

/// CIFAR-10 (Krizhevsky, 2009), binary version: 10 classes, 50000 training and 10000 test images as uint8 of
/// shape N x 3 x 32 x 32.
/// \param directory contains `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, or a subdirectory
/// `cifar-10-batches-bin` with them.
/// \throws DataError if a file is missing, is not of the expected size, or has a label that is not from 0 to 9; with
/// the file, the offset, what was expected and what was found.
inline Dataset cifar10(const std::filesystem::path& directory, Split split, CifarOptions options = {}) {
    std::vector<std::string> names{"test_batch.bin"};
    if (split == Split::train) {
        names.clear();
        for (int i = 1; i <= 5; ++i) names.push_back("data_batch_" + std::to_string(i) + ".bin");
    }
    const auto count = detail::cifar_count(options, 10000);
    const auto found = detail::cifar_directory(directory, "cifar-10-batches-bin", names.front());
    std::vector<std::filesystem::path> paths;
    paths.reserve(names.size());
    for (const auto& name : names) paths.push_back(found / name);
    return detail::read_cifar(paths, {{"label", 10}}, 0, count);
}

/// CIFAR-100 (Krizhevsky, 2009), binary version: 100 fine or 20 coarse classes, 50000 training and 10000 test
/// images as uint8 of shape N x 3 x 32 x 32.
/// \param directory contains `train.bin` and `test.bin`, or a subdirectory `cifar-100-binary` with them.
/// \throws DataError as `cifar10` does; both labels are checked, whichever is read.
inline Dataset cifar100(const std::filesystem::path& directory, Split split,
                        CifarLabels labels = CifarLabels::fine, CifarOptions options = {}) {
    const std::string name = split == Split::train ? "train.bin" : "test.bin";
    const auto count = detail::cifar_count(options, split == Split::train ? 50000 : 10000);
    const auto found = detail::cifar_directory(directory, "cifar-100-binary", name);
    return detail::read_cifar({found / name}, {{"coarse label", 20}, {"fine label", 100}},
                              labels == CifarLabels::coarse ? 0 : 1, count);
}

}  // namespace retort::data
