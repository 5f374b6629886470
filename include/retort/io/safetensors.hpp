// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights in the format safetensors: https://huggingface.co/docs/safetensors
///
/// RETORT_WITH_JSON=1 (set by the CMake target where nlohmann-json is found) is needed for it; it must have the
/// same value in all of a program.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/detail/atomic_file.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/io/detail/safetensors_file.hpp>
#include <retort/io/detail/stored_state_dict.hpp>
#include <retort/io/detail/stored_tensor.hpp>
#endif

#include <retort/core/error.hpp>
#include <retort/io/state_dict.hpp>

namespace retort {

/// What a file may say beside its tensors.
using Metadata = std::map<std::string, std::string>;

#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON

/// Reads a file in the format safetensors. The tensors are on the CPU.
/// \param metadata gets what the file says beside its tensors, if not null
/// \throws DataError if there is no such file, or it is malformed; ConfigError if retort is built without
/// nlohmann-json
inline StateDict read_safetensors(const std::filesystem::path& path, Metadata* metadata = nullptr) {
    const detail::MappedFile file(path);
    try {
        return detail::to_state_dict(detail::parse_safetensors(file.bytes(), metadata));
    } catch (const DataError& error) {
        throw DataError(detail::concat(path.string(), ": ", error.what()));
    }
}

/// Writes a file in the format safetensors, whole or not at all. Tensors that share memory are written each by
/// itself, as the format wants it.
/// \throws OutputError with the system's reason; ConfigError if a tensor has a type that the format lacks, or
/// retort is built without nlohmann-json
inline void write_safetensors(const std::filesystem::path& path, const StateDict& dictionary,
                              const Metadata& metadata = {}) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::uint64_t offset = 0;
    // The tensors follow each other by the size of their elements, so that each is aligned for its type.
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto& item : dictionary) tensors.emplace_back(item.key(), item.value());
    std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
        return a.second.element_size() > b.second.element_size();
    });
    for (const auto& [name, tensor] : tensors) {
        const detail::ElementType type = detail::element_type(tensor, name);
        const std::string_view word = detail::element_types[static_cast<std::size_t>(type)].safetensors;
        if (word.empty() || name == "__metadata__") {
            throw ConfigError(detail::concat("tensor ", name,
                                             ": expected a name and a type that safetensors has, found ",
                                             tensor.toString()));
        }
        const std::uint64_t bytes = static_cast<std::uint64_t>(tensor.numel()) * detail::element_size(type);
        header[name] = {
            {"dtype", word}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + bytes}}};
        offset += bytes;
    }
    std::string start;
    try {
        start = header.dump();
    } catch (const nlohmann::json::exception& error) {
        throw ConfigError(detail::concat("safetensors: expected names in UTF-8, found: ", error.what()));
    }
    start.resize((start.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = start.size();
    detail::write_pieces(path, [&](auto&& append) {
        append(std::string_view(reinterpret_cast<const char*>(&length), sizeof length));
        append(std::string_view(start));
        for (const auto& [name, tensor] : tensors) {
            const at::Tensor plain = tensor.detach().cpu().contiguous();
            append(std::string_view(static_cast<const char*>(plain.data_ptr()), plain.nbytes()));
        }
    });
}

#else

namespace detail {
[[noreturn]] inline void no_json() {
    throw ConfigError(
        "safetensors: expected retort to be built with nlohmann-json (RETORT_WITH_JSON), found it built "
        "without");
}
}  // namespace detail

inline StateDict read_safetensors(const std::filesystem::path&, Metadata* = nullptr) { detail::no_json(); }
inline void write_safetensors(const std::filesystem::path&, const StateDict&, const Metadata& = {}) {
    detail::no_json();
}

#endif

}  // namespace retort
