// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a file says about its tensors. Knows nothing of LibTorch, so that it can be tested alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
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
    complex128
};

struct ElementTypeNames {
    ElementType type;
    std::size_t bytes;
    std::string_view torch;        ///< of the class of its storage in Python's torch
    std::string_view safetensors;  ///< empty: has none
};

inline constexpr std::array<ElementTypeNames, 12> element_types{{
    {ElementType::float64, 8, "DoubleStorage", "F64"},
    {ElementType::float32, 4, "FloatStorage", "F32"},
    {ElementType::float16, 2, "HalfStorage", "F16"},
    {ElementType::bfloat16, 2, "BFloat16Storage", "BF16"},
    {ElementType::int64, 8, "LongStorage", "I64"},
    {ElementType::int32, 4, "IntStorage", "I32"},
    {ElementType::int16, 2, "ShortStorage", "I16"},
    {ElementType::int8, 1, "CharStorage", "I8"},
    {ElementType::uint8, 1, "ByteStorage", "U8"},
    {ElementType::boolean, 1, "BoolStorage", "BOOL"},
    {ElementType::complex64, 8, "ComplexFloatStorage", ""},
    {ElementType::complex128, 16, "ComplexDoubleStorage", ""},
}};

inline std::size_t element_size(ElementType type) {
    return element_types[static_cast<std::size_t>(type)].bytes;
}

/// Elements one after the other in the file, which tensors look at.
struct StoredElements {
    ElementType type{};
    std::string_view bytes{};
};

/// A tensor in a file: a look at stored elements.
struct StoredTensor {
    std::string name;
    std::size_t storage = 0;  ///< which of the stored elements
    std::int64_t offset = 0;  ///< in elements
    std::vector<std::int64_t> sizes{};
    std::vector<std::int64_t> strides{};
};

struct StoredTensors {
    std::vector<StoredElements> storages;
    std::vector<StoredTensor> tensors;
};

/// Throws unless a tensor is a look at elements that are there, each at most once in number.
inline void check_stored(const StoredTensor& tensor, const StoredElements& elements) {
    const auto refuse = [&](std::string_view expected, std::string_view found) {
        throw DataError(concat("tensor ", tensor.name, ": expected ", expected, ", found ", found));
    };
    const auto available = static_cast<std::int64_t>(elements.bytes.size() / element_size(elements.type));
    if (tensor.sizes.size() != tensor.strides.size() || tensor.sizes.size() > 64) {
        refuse("at most 64 sizes, and as many strides",
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
    if (overflow || (count > 0 && last >= available) || count > available) {
        refuse(concat("elements among the ", available, " that are stored"), "more, or others");
    }
}

}  // namespace retort::detail
