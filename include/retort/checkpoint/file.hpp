// SPDX-License-Identifier: BSL-1.0
/// \file
/// The file of a checkpoint: a flat list of named tensors and texts.
///
/// | bytes | content |
/// |-------|---------|
/// | 8     | `RETORT` and two characters of the format's version |
/// | 8     | the length of the file |
/// | 8     | the number of values |
/// |       | each value: length of the name (4), name, kind (1), number of dimensions (1), dimensions (8 each), content |
/// | 8     | checksum (`Hash`) of everything before it |
///
/// All integers are little-endian. Kinds: 0 to 12 are tensors of the types in `state_types`, whose content is their
/// elements row by row; 254 an undefined tensor; 255 a text of one dimension.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/detail/tensor.hpp>

namespace retort::detail {

inline constexpr std::string_view state_magic = "RETORT01";
inline constexpr std::array state_types{
    at::kByte,   at::kChar,        at::kShort,        at::kInt,           at::kLong, at::kHalf,    at::kFloat,
    at::kDouble, at::kComplexHalf, at::kComplexFloat, at::kComplexDouble, at::kBool, at::kBFloat16};
inline constexpr std::uint8_t undefined_kind = 254;
inline constexpr std::uint8_t text_kind = 255;

/// The bytes of a file with these values. Tensors are copied to the CPU.
/// \throws ConfigError if a tensor is of a type that the format does not have
inline std::string encode_state(const StateItems& items) {
    std::vector<at::Tensor> tensors;
    std::size_t length = state_magic.size() + 24;
    for (const StateItem& item : items) {
        tensors.push_back(item.tensor.defined() ? in_memory(item.tensor) : at::Tensor());
        const std::size_t dimensions = item.text ? 1
                                       : tensors.back().defined()
                                           ? static_cast<std::size_t>(tensors.back().dim())
                                           : 0;
        length += 6 + item.name.size() + 8 * dimensions +
                  (item.text                  ? item.text->size()
                   : tensors.back().defined() ? tensors.back().nbytes()
                                              : 0);
    }
    std::string bytes;
    bytes.reserve(length);
    const auto put = [&](auto value) { append_number(bytes, value); };
    bytes.append(state_magic);
    put(static_cast<std::uint64_t>(length));
    put(static_cast<std::uint64_t>(items.size()));
    for (std::size_t i = 0; i < items.size(); ++i) {
        put(static_cast<std::uint32_t>(items[i].name.size()));
        bytes.append(items[i].name);
        const at::Tensor& tensor = tensors[i];
        if (items[i].text) {
            put(text_kind);
            put(std::uint8_t{1});
            put(static_cast<std::uint64_t>(items[i].text->size()));
            bytes.append(*items[i].text);
        } else if (!tensor.defined()) {
            put(undefined_kind);
            put(std::uint8_t{0});
        } else {
            std::uint8_t kind = 0;
            while (kind < state_types.size() && state_types[kind] != tensor.scalar_type()) ++kind;
            if (kind == state_types.size()) {
                throw ConfigError(concat("checkpoint: ", items[i].name, ": tensors of type ",
                                         at::toString(tensor.scalar_type()), " cannot be stored"));
            }
            put(kind);
            put(static_cast<std::uint8_t>(tensor.dim()));
            for (const std::int64_t size : tensor.sizes()) put(size);
            bytes.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
        }
    }
    Hash hash;
    hash.add(bytes);
    put(hash.value());
    return bytes;
}

/// Reads `count` values. Whatever the bytes claim, the values take no more memory than the bytes that hold them.
/// \throws MalformedBytes
inline StateItems decode_values(ByteReader& reader, std::uint64_t count) {
    constexpr std::uint64_t least = 6;  // bytes of a value
    if (count > reader.left() / least) {
        throw MalformedBytes(reader.position(), concat(count, " values"),
                             concat(reader.left(), " bytes for them"));
    }
    StateItems items;
    items.reserve(count);
    std::unordered_set<std::string_view> names;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::size_t at = reader.position();
        const std::string_view name = reader.take(reader.number<std::uint32_t>("a name's length"), "a name");
        const auto refuse = [&](std::string_view expected, std::string_view found) {
            throw MalformedBytes(at, concat(expected, " named ", excerpt(name)), found);
        };
        if (!names.insert(name).second) refuse("one value", "two");
        StateItem& item = items.emplace_back();
        item.name = name;
        const auto kind = reader.number<std::uint8_t>("a kind");
        const auto dimensions = reader.number<std::uint8_t>("a number of dimensions");
        if (kind == undefined_kind && dimensions == 0) continue;
        if (kind == text_kind && dimensions == 1) {
            item.text.emplace(reader.take(reader.number<std::uint64_t>("a text's length"), "a text"));
            continue;
        }
        if (kind >= state_types.size())
            refuse("a known kind of value",
                   concat("kind ", int{kind}, " with ", int{dimensions}, " dimensions"));
        const at::ScalarType type = state_types[kind];
        std::vector<std::int64_t> sizes(dimensions);
        // The product of the dimensions other than 0 is bounded for empty tensors, too: LibTorch multiplies them.
        std::uint64_t product = c10::elementSize(type);
        bool empty = false;
        for (std::int64_t& size : sizes) {
            size = reader.number<std::int64_t>("a dimension");
            constexpr std::uint64_t bound = std::uint64_t{1} << 48;
            if (size < 0 || (size > 0 && static_cast<std::uint64_t>(size) > bound / product))
                refuse("dimensions of a tensor", concat("a dimension of ", size));
            if (size > 0) product *= static_cast<std::uint64_t>(size);
            empty = empty || size == 0;
        }
        const std::string_view content = reader.take(empty ? 0 : product, "a tensor");
        if (type == at::kBool) {
            for (const char each : content) {
                if (each != 0 && each != 1) refuse("truth values of 0 and 1", concat("one of ", int{each}));
            }
        }
        try {
            item.tensor = at::empty(sizes, at::TensorOptions(type));
        } catch (const std::exception&) {
            refuse("a tensor that memory has room for", concat("one of ", product, " bytes"));
        }
        if (!content.empty()) std::memcpy(item.tensor.data_ptr(), content.data(), content.size());
    }
    if (reader.left() > 0) {
        throw MalformedBytes(reader.position(), "the end after the last value",
                             concat(reader.left(), " more bytes"));
    }
    return items;
}

/// The values of the bytes of a file.
/// \param where begins errors
/// \throws CheckpointError if they are not a checkpoint, or of another version, truncated or damaged
inline StateItems decode_state(std::string_view bytes, const std::string& where) {
    const auto refuse = [&](const auto&... found) { throw CheckpointError(concat(where, ": ", found...)); };
    const std::size_t head = state_magic.size() + 16;
    const std::string_view family = state_magic.substr(0, 6);
    if (bytes.empty() || bytes.substr(0, family.size()) != family.substr(0, bytes.size()))
        refuse("expected a checkpoint of retort, found something else");
    if (bytes.size() >= state_magic.size() && !bytes.starts_with(state_magic)) {
        refuse("written in version ", excerpt(bytes.substr(6, 2)), " of the format, this program reads ",
               state_magic.substr(6));
    }
    if (bytes.size() < head + 8) refuse("truncated after ", bytes.size(), " bytes");
    try {
        const std::size_t end = bytes.size() - 8;
        ByteReader reader(bytes.substr(0, end), state_magic.size());
        if (const auto length = reader.number<std::uint64_t>("a length"); length != bytes.size())
            refuse("truncated or damaged: expected ", length, " bytes, found ", bytes.size());
        const auto count = reader.number<std::uint64_t>("a number of values");
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION  // a fuzzer's mutations would all fail here
        Hash hash;
        hash.add(bytes.substr(0, end));
        if (hash.value() != ByteReader(bytes, end).number<std::uint64_t>("a checksum"))
            refuse("damaged: the checksum does not match");
#endif
        return decode_values(reader, count);
    } catch (const MalformedBytes& error) {
        throw CheckpointError(concat(where, ": damaged: ", error.what()));
    }
}

/// \throws CheckpointError if there is no such file, or as `decode_state`
inline StateItems read_state(const std::filesystem::path& path) {
    try {
        return decode_state(MappedFile(path).bytes(), path.string());
    } catch (const DataError& error) {
        throw CheckpointError(error.what());
    }
}
/// Writes a file atomically.
/// \throws OutputError
inline void write_state(const std::filesystem::path& path, const StateItems& items) {
    write_atomically(path, encode_state(items));
}

}  // namespace retort::detail
