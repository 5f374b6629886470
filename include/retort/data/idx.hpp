// SPDX-License-Identifier: BSL-1.0
/// \file
/// The IDX format of MNIST and similar data sets.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/data/detail/file.hpp>
#include <retort/detail/byte_reader.hpp>

namespace retort::data {

namespace detail {

struct IdxType {
    std::uint8_t code;
    std::size_t width;
    at::ScalarType type;
    const char* name;
};

inline constexpr std::array<IdxType, 6> idx_types{{{0x08, 1, at::kByte, "uint8"},
                                                   {0x09, 1, at::kChar, "int8"},
                                                   {0x0b, 2, at::kShort, "int16"},
                                                   {0x0c, 4, at::kInt, "int32"},
                                                   {0x0d, 4, at::kFloat, "float32"},
                                                   {0x0e, 8, at::kDouble, "float64"}}};

/// A tensor that owns `bytes`.
inline at::Tensor adopt(Bytes bytes, const std::vector<std::int64_t>& sizes, at::ScalarType type) {
    if (bytes.empty()) return at::empty(sizes, at::TensorOptions(type));
    auto* owner = new Bytes(std::move(bytes));
    return at::from_blob(owner->data(), sizes, [owner](void*) { delete owner; }, at::TensorOptions(type));
}

/// IDX numbers are big-endian.
inline void to_native(Bytes& bytes, std::size_t width) {
    if (width == 1 || std::endian::native == std::endian::big) return;
    for (std::size_t start = 0; start + width <= bytes.size(); start += width) {
        for (std::size_t i = 0; i < width / 2; ++i) std::swap(bytes[start + i], bytes[start + width - 1 - i]);
    }
}

}  // namespace detail

/// Reads an IDX file (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"): two zero bytes,
/// the type of the numbers, the number of dimensions, each dimension as 32 bits, then the numbers; everything
/// big-endian. The file may be gzip (whatever its name), if retort is built with zlib.
/// \return a CPU tensor of the file's type (uint8, int8, int16, int32, float32 or float64) and dimensions.
/// \throws DataError if the file is missing, not a regular file, empty, truncated, longer than its header states,
/// damaged or of another format; with the file, the offset (after unpacking, if it is valid gzip), what was expected
/// and what was found. A header that promises more than the file contains never causes allocations of that size.
inline at::Tensor read_idx(const std::filesystem::path& path) {
    using ::retort::detail::concat;
    detail::Source source(path);
    const auto magic = source.exactly(4, "the 4 bytes that begin an IDX file");
    if (magic[0] != 0 || magic[1] != 0) {
        detail::malformed(path, 0, "00 00, which begin an IDX file, or 1f 8b, which begin a gzip file",
                          detail::hexadecimal(magic.data(), 2));
    }
    const detail::IdxType* type = nullptr;
    for (const auto& known : detail::idx_types) {
        if (known.code == magic[2]) type = &known;
    }
    if (type == nullptr) {
        detail::malformed(path, 2, "an IDX type (08, 09, 0b, 0c, 0d or 0e)",
                          detail::hexadecimal(&magic[2], 1));
    }
    const std::size_t rank = magic[3];
    if (rank > 64) {
        detail::malformed(path, 3, "at most 64 dimensions, as many as LibTorch supports", concat(rank));
    }
    const auto header = source.exactly(4 * rank, concat("the sizes of ", rank, " dimensions"));
    ::retort::detail::ByteReader numbers(
        std::string_view(reinterpret_cast<const char*>(header.data()), header.size()));
    std::vector<std::int64_t> sizes(rank);
    std::string shape;
    bool empty = false;
    for (std::size_t d = 0; d < rank; ++d) {
        const auto size = numbers.big_endian<std::uint32_t>("a size");
        sizes[d] = size;
        empty = empty || size == 0;
        shape += (d > 0 ? " x " : "") + std::to_string(size);
    }
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    std::uint64_t count = empty ? 0 : type->width;
    for (const auto size : sizes) {
        if (count > 0 && static_cast<std::uint64_t>(size) > most / count) {
            detail::malformed(path, 4, "dimensions that a file can fill", shape);
        }
        count *= static_cast<std::uint64_t>(size);
    }
    if (empty) {
        // LibTorch multiplies the sizes in its own order, and must not overflow before it reaches the zero.
        std::uint64_t product = 1;
        for (const auto size : sizes) {
            if (size == 0) continue;
            if (static_cast<std::uint64_t>(size) > most / product) {
                detail::malformed(path, 4, "dimensions that a file can fill", shape);
            }
            product *= static_cast<std::uint64_t>(size);
        }
    }
    auto bytes = source.exactly(count, concat(count, " bytes of data (", shape, " of ", type->name, ")"));
    source.expect_end();
    detail::to_native(bytes, type->width);
    return detail::adopt(std::move(bytes), sizes, type->type);
}

}  // namespace retort::data
