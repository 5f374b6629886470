// SPDX-License-Identifier: BSL-1.0
/// \file
/// The descriptions of tensors in a file. Independent of LibTorch, so that it can be fuzzed alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <retort/detail/byte_reader.hpp>

namespace retort::detail {

/// The types of elements that files may have.
enum class ElementType : std::uint8_t {
    float64,
    float32,
    float16,
    bfloat16,
    int64,
    int32,
    int16,
    int8,
    uint8,
    boolean,
    complex64,
    complex128,
    complex32,
    float8_e4m3fn,
    float8_e5m2,
    float8_e4m3fnuz,
    float8_e5m2fnuz,
    float8_e8m0fnu,
    uint16,
    uint32,
    uint64
};

struct ElementTypeNames {
    ElementType type;
    std::size_t bytes;
    std::string_view storage;      ///< class of its storage in Python's torch; empty: an untyped one
    std::string_view torch;        ///< name in Python's torch
    std::string_view safetensors;  ///< empty: has none
};

/// In the order of `ElementType`.
inline constexpr std::array<ElementTypeNames, 21> element_types{{
    {ElementType::float64, 8, "DoubleStorage", "float64", "F64"},
    {ElementType::float32, 4, "FloatStorage", "float32", "F32"},
    {ElementType::float16, 2, "HalfStorage", "float16", "F16"},
    {ElementType::bfloat16, 2, "BFloat16Storage", "bfloat16", "BF16"},
    {ElementType::int64, 8, "LongStorage", "int64", "I64"},
    {ElementType::int32, 4, "IntStorage", "int32", "I32"},
    {ElementType::int16, 2, "ShortStorage", "int16", "I16"},
    {ElementType::int8, 1, "CharStorage", "int8", "I8"},
    {ElementType::uint8, 1, "ByteStorage", "uint8", "U8"},
    {ElementType::boolean, 1, "BoolStorage", "bool", "BOOL"},
    {ElementType::complex64, 8, "ComplexFloatStorage", "complex64", "C64"},
    {ElementType::complex128, 16, "ComplexDoubleStorage", "complex128", ""},
    {ElementType::complex32, 4, "", "complex32", ""},
    {ElementType::float8_e4m3fn, 1, "", "float8_e4m3fn", "F8_E4M3"},
    {ElementType::float8_e5m2, 1, "", "float8_e5m2", "F8_E5M2"},
    {ElementType::float8_e4m3fnuz, 1, "", "float8_e4m3fnuz", "F8_E4M3FNUZ"},
    {ElementType::float8_e5m2fnuz, 1, "", "float8_e5m2fnuz", "F8_E5M2FNUZ"},
    {ElementType::float8_e8m0fnu, 1, "", "float8_e8m0fnu", "F8_E8M0"},
    {ElementType::uint16, 2, "", "uint16", "U16"},
    {ElementType::uint32, 4, "", "uint32", "U32"},
    {ElementType::uint64, 8, "", "uint64", "U64"},
}};

constexpr const ElementTypeNames& names_of(ElementType type) {
    return element_types[static_cast<std::size_t>(type)];
}
inline std::size_t element_size(ElementType type) { return names_of(type).bytes; }

/// Consecutive elements in the file, which tensors are views of.
struct StoredElements {
    ElementType type{};
    std::string_view bytes{};
};

/// A tensor in a file: a view of stored elements.
struct StoredTensor {
    std::string name;
    std::size_t storage = 0;  ///< which of the stored elements
    std::int64_t offset = 0;  ///< in elements
    std::vector<std::int64_t> sizes{};
    std::vector<std::int64_t> strides{};
    ElementType
        type{};  ///< of its elements: that of the storage, which has none of its own where it is untyped
    bool conjugated = false;  ///< its values are the conjugates of the elements
    bool negated = false;     ///< its values are the elements times -1
};

/// An entry that is not a tensor, or not one of a type that can be read.
struct UnreadableEntry {
    std::string name;
    std::string found;
};

struct StoredTensors {
    std::vector<StoredElements> storages{};
    std::vector<StoredTensor> tensors{};
    std::vector<UnreadableEntry> unreadable{};
};

/// More dimensions than any operator of LibTorch takes.
inline constexpr std::size_t most_dimensions = 64;
/// A view may repeat elements (`expand` in Python). This limit is above any real one, and small enough to be copied.
inline constexpr std::int64_t most_repeated = std::int64_t{1} << 26;

/// Throws unless a tensor is a view of existing elements.
inline void check_stored(const StoredTensor& tensor, const StoredElements& elements) {
    const auto refuse = [&](std::string_view expected, std::string_view found) {
        throw DataError(concat("tensor ", excerpt(tensor.name), ": expected ", expected, ", found ", found));
    };
    const auto available = static_cast<std::int64_t>(elements.bytes.size() / element_size(tensor.type));
    if (tensor.sizes.size() != tensor.strides.size() || tensor.sizes.size() > most_dimensions) {
        refuse(concat("at most ", most_dimensions, " sizes, and as many strides"),
               concat(tensor.sizes.size(), " sizes and ", tensor.strides.size(), " strides"));
    }
    std::int64_t count = 1, last = tensor.offset;
    bool overflow = tensor.offset < 0;
    for (std::size_t i = 0; i < tensor.sizes.size(); ++i) {
        const std::int64_t size = tensor.sizes[i], stride = tensor.strides[i];
        if (size < 0 || stride < 0) refuse("sizes and strides of at least 0", concat(size, " and ", stride));
        overflow = overflow || __builtin_mul_overflow(count, size, &count);
        std::int64_t reach = 0;
        overflow = overflow || __builtin_mul_overflow(size > 0 ? size - 1 : 0, stride, &reach) ||
                   __builtin_add_overflow(last, reach, &last);
    }
    if (overflow || (count > 0 && last >= available) || (count > available && count > most_repeated))
        refuse(concat("elements among the ", available, " that are stored"), "more, or others");
}

}  // namespace retort::detail
