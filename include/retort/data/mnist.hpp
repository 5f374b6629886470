// SPDX-License-Identifier: BSL-1.0
/// \file
/// MNIST and Fashion-MNIST from a directory with their four IDX files.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/idx.hpp>
#include <retort/data/split.hpp>

namespace retort::data {

namespace detail {

/// The first existing file for `part` (such as "images") of a split, among its published names.
inline std::filesystem::path mnist_file(const std::filesystem::path& directory, Split split,
                                        const std::string& part, int rank) {
    const auto stem = (split == Split::train ? "train-" : "t10k-") + part;
    const auto kind = "idx" + std::to_string(rank) + "-ubyte";
    const std::vector<std::string> names{stem + "-" + kind, stem + "-" + kind + ".gz", stem + "." + kind,
                                         stem + "." + kind + ".gz"};
    std::string looked_for;
    for (const auto& name : names) {
        std::error_code ignored;
        if (std::filesystem::exists(directory / name, ignored)) return directory / name;
        looked_for += (looked_for.empty() ? "" : ", ") + name;
    }
    std::error_code ignored;
    const auto* found = !std::filesystem::exists(directory, ignored)         ? "no such directory"
                        : !std::filesystem::is_directory(directory, ignored) ? "a file instead of a directory"
                                                                             : "none of them";
    throw DataError(
        ::retort::detail::concat(directory.string(), ": expected one of ", looked_for, ", found ", found));
}

inline Dataset mnist_like(const std::filesystem::path& directory, Split split) {
    using ::retort::detail::concat;
    constexpr std::int64_t classes = 10;
    const auto images_path = mnist_file(directory, split, "images", 3);
    const auto labels_path = mnist_file(directory, split, "labels", 1);
    const auto labels = read_idx(labels_path);
    const auto images = read_idx(images_path);
    if (images.scalar_type() != at::kByte || images.dim() != 3) {
        malformed(images_path, 2, "images as uint8 in 3 dimensions (08 03)",
                  concat(images.scalar_type(), " in ", images.dim(), " dimensions"));
    }
    if (labels.scalar_type() != at::kByte || labels.dim() != 1) {
        malformed(labels_path, 2, "labels as uint8 in 1 dimension (08 01)",
                  concat(labels.scalar_type(), " in ", labels.dim(), " dimensions"));
    }
    if (images.numel() == 0)
        malformed(images_path, 4, "at least one pixel", concat("images of shape ", images.sizes()));
    if (images.size(0) != labels.size(0)) {
        malformed(labels_path, 4,
                  concat("as many labels as ", images_path.string(), " has images, that is ", images.size(0)),
                  concat(labels.size(0)));
    }
    const auto* label = labels.data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < labels.size(0); ++i) {
        if (label[i] >= classes) {
            malformed(labels_path, static_cast<std::uint64_t>(8 + i),
                      concat("a label from 0 to ", classes - 1), concat(static_cast<int>(label[i])));
        }
    }
    return in_memory(images.unsqueeze(1), labels.to(at::kLong), classes);
}

}  // namespace detail

/// MNIST (LeCun, Cortes and Burges): 10 digits, 60000 training and 10000 test images as uint8 of shape N x 1 x 28 x
/// 28.
/// \param directory with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` or the same with `t10k-`; each name may
/// end in `.gz` and may have a dot before `idx`. A plain file takes precedence over a compressed one.
/// \throws DataError as `read_idx` does, and if a file is missing (with the names tried), the numbers of images and
/// labels differ, or a label is not from 0 to 9
inline Dataset mnist(const std::filesystem::path& directory, Split split) {
    return detail::mnist_like(directory, split);
}

/// Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 10 kinds of clothing in the format and with the file names of
/// `mnist`.
inline Dataset fashion_mnist(const std::filesystem::path& directory, Split split) {
    return detail::mnist_like(directory, split);
}

}  // namespace retort::data
