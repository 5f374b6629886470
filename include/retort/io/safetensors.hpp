// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights in the format safetensors: https://huggingface.co/docs/safetensors
///
/// Needs RETORT_WITH_JSON=1 (set by the CMake target where nlohmann-json is found), with the same value in the whole
/// program.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <string_view>

#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include <retort/detail/atomic_file.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/io/detail/safetensors_file.hpp>
#include <retort/io/detail/stored_state_dict.hpp>
#endif

#include <retort/core/error.hpp>
#include <retort/io/read_options.hpp>
#include <retort/io/state_dict.hpp>

namespace retort {

#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON

namespace detail {

inline void check_no_key(const ReadOptions& options, std::string_view where) {
    if (options.key.empty()) return;
    throw ConfigError(concat(where, "expected no ReadOptions::key for a file of safetensors, ",
                             "which has no dictionaries, found \"", options.key, '"'));
}

}  // namespace detail

/// The tensors in the bytes of a file of the format safetensors, on the CPU.
/// \throws DataError if they are malformed, or hold what cannot be read (see `ReadOptions::left_out`); ConfigError if
/// `options` has a key, or retort is built without nlohmann-json
inline StateDict decode_safetensors(std::string_view bytes, const ReadOptions& options = {}) {
    detail::check_no_key(options, "");
    return detail::to_state_dict(detail::parse_safetensors(bytes, options.metadata), options.left_out);
}

/// Reads a file in the format safetensors. The tensors are on the CPU.
/// \throws DataError if there is no such file, it is malformed, or holds what cannot be read (see
/// `ReadOptions::left_out`); ConfigError if `options` has a key, or retort is built without nlohmann-json
inline StateDict read_safetensors(const std::filesystem::path& path, const ReadOptions& options = {}) {
    detail::check_no_key(options, path.string() + ": ");
    const detail::MappedFile file(path);
    try {
        return decode_safetensors(file.bytes(), options);
    } catch (const DataError& error) {
        throw DataError(detail::concat(path.string(), ": ", error.what()));
    }
}

namespace detail {

/// Passes the bytes of a file of the format safetensors to `append(std::string_view)` piece by piece.
/// \throws ConfigError before the first piece if a tensor has a type that the format lacks
template <class Append>
void safetensors_pieces(const StateDict& dictionary, const Metadata& metadata, Append&& append) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::uint64_t offset = 0;
    // Tensors of larger elements come first, so that each is aligned for its type.
    struct Written {
        std::size_t size, position;
        std::string name;
        at::Tensor tensor;
    };
    std::vector<Written> tensors;
    for (const auto& item : dictionary) {
        const std::size_t size = element_type(item.value(), item.key()).bytes;
        tensors.push_back({size, tensors.size(), item.key(), item.value()});
    }
    std::sort(tensors.begin(), tensors.end(), [](const Written& a, const Written& b) {
        return std::pair(b.size, a.position) < std::pair(a.size, b.position);
    });
    for (const auto& [size, position, name, tensor] : tensors) {
        const std::string_view word = element_type(tensor, name).safetensors;
        if (word.empty() || name == "__metadata__") {
            throw ConfigError(concat("tensor ", name,
                                     ": expected a name and a type that safetensors has, found ",
                                     tensor.toString()));
        }
        const std::uint64_t bytes = static_cast<std::uint64_t>(tensor.numel()) * size;
        header[name] = {
            {"dtype", word}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + bytes}}};
        offset += bytes;
    }
    std::string start;
    try {
        start = header.dump();
    } catch (const nlohmann::json::exception& error) {
        throw ConfigError(concat("safetensors: expected names in UTF-8, found: ", error.what()));
    }
    start.resize((start.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = start.size();
    append(std::string_view(reinterpret_cast<const char*>(&length), sizeof length));
    append(std::string_view(start));
    for (const Written& each : tensors) {
        const at::Tensor plain = in_memory(each.tensor);
        append(std::string_view(static_cast<const char*>(plain.data_ptr()), plain.nbytes()));
    }
}

}  // namespace detail

/// Tensors in the format safetensors, as the bytes of a file. Tensors that share memory are written separately, as the
/// format requires.
/// \throws ConfigError if a tensor has a type that the format lacks, or retort is built without nlohmann-json
inline std::string encode_safetensors(const StateDict& dictionary, const Metadata& metadata = {}) {
    std::string result;
    detail::safetensors_pieces(dictionary, metadata, [&](std::string_view piece) { result.append(piece); });
    return result;
}

/// Writes a file in the format safetensors, atomically. Tensors that share memory are written separately, as the
/// format requires.
/// \throws OutputError with the system's reason; ConfigError if a tensor has a type that the format lacks, or
/// retort is built without nlohmann-json
inline void write_safetensors(const std::filesystem::path& path, const StateDict& dictionary,
                              const Metadata& metadata = {}) {
    detail::write_pieces(path,
                         [&](auto&& append) { detail::safetensors_pieces(dictionary, metadata, append); });
}

#else

namespace detail {
[[noreturn]] inline void no_json() {
    throw ConfigError(
        "safetensors: expected retort to be built with nlohmann-json (RETORT_WITH_JSON), found it built "
        "without");
}
}  // namespace detail

inline StateDict read_safetensors(const std::filesystem::path&, const ReadOptions& = {}) {
    detail::no_json();
}
inline void write_safetensors(const std::filesystem::path&, const StateDict&, const Metadata& = {}) {
    detail::no_json();
}
inline StateDict decode_safetensors(std::string_view, const ReadOptions& = {}) { detail::no_json(); }
inline std::string encode_safetensors(const StateDict&, const Metadata& = {}) { detail::no_json(); }

#endif

}  // namespace retort
