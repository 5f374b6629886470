// SPDX-License-Identifier: BSL-1.0
/// \file
/// Finds the tensors in a file of the format safetensors. Knows nothing of LibTorch, but needs nlohmann-json.
#pragma once

#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/detail/byte_reader.hpp>
#include <retort/io/detail/stored_tensor.hpp>

namespace retort::detail {

inline StoredTensors parse_safetensors(std::string_view file,
                                       std::map<std::string, std::string>* metadata = nullptr) {
    using Json = nlohmann::json;
    ByteReader reader(file);
    const auto length = reader.number<std::uint64_t>("the header's length");
    const std::string_view header = reader.take(length, "a header");
    const std::string_view data = reader.take(reader.left(), "data");
    Json json;
    try {
        json = Json::parse(header);
    } catch (const Json::exception& error) {
        throw DataError(concat("expected a header in JSON, found: ", error.what()));
    }
    if (!json.is_object()) throw DataError("expected a JSON object as the header, found another value");

    struct Piece {
        std::uint64_t begin, end;
    };
    StoredTensors result;
    std::vector<Piece> pieces;
    for (const auto& [name, entry] : json.items()) {
        if (name == "__metadata__") {
            for (const auto& [key, value] : entry.items()) {
                if (!value.is_string()) throw DataError("__metadata__: expected texts, found another value");
                if (metadata != nullptr) metadata->emplace(key, value.get<std::string>());
            }
            continue;
        }
        const auto refuse = [&, &who = name](std::string_view expected, const std::string& found) {
            throw DataError(
                concat("tensor ", who, ": expected ", expected, ", found ", found.substr(0, 200)));
        };
        if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
            !entry.contains("data_offsets")) {
            refuse("dtype, shape and data_offsets",
                   entry.dump(-1, ' ', true, Json::error_handler_t::replace));
        }
        const Json& type = entry["dtype"];
        const auto known = std::find_if(element_types.begin(), element_types.end(), [&](const auto& each) {
            return !each.safetensors.empty() && type.is_string() &&
                   type.get_ref<const std::string&>() == each.safetensors;
        });
        if (known == element_types.end()) {
            refuse("a dtype such as F32", type.dump(-1, ' ', true, Json::error_handler_t::replace));
        }
        StoredTensor tensor;
        tensor.name = name;
        tensor.storage = result.storages.size();
        const auto numbers = [&, &fields = entry](const char* key) {
            std::vector<std::uint64_t> values;
            const Json& list = fields[key];
            if (!list.is_array()) refuse(concat(key, " to be a list"), "another value");
            for (const Json& each : list) {
                if (!each.is_number_unsigned() || each.get<std::uint64_t>() > (std::uint64_t{1} << 62)) {
                    refuse(concat(key, " of numbers of at least 0"), each.dump());
                }
                values.push_back(each.get<std::uint64_t>());
            }
            return values;
        };
        for (const std::uint64_t size : numbers("shape"))
            tensor.sizes.push_back(static_cast<std::int64_t>(size));
        const std::vector<std::uint64_t> offsets = numbers("data_offsets");
        if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size()) {
            refuse(concat("two data_offsets within the ", data.size(), " bytes of data"),
                   entry["data_offsets"].dump());
        }
        std::uint64_t bytes = known->bytes;
        bool overflow = false;
        for (const std::int64_t size : tensor.sizes) {
            overflow = overflow || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes);
        }
        if (overflow || bytes != offsets[1] - offsets[0]) {
            refuse("as many bytes as its shape needs", concat(offsets[1] - offsets[0]));
        }
        tensor.strides.resize(tensor.sizes.size());
        std::int64_t stride = 1;
        for (std::size_t i = tensor.sizes.size(); i-- > 0;) {
            tensor.strides[i] = stride;
            // Beside a size of 0 the others say nothing about the bytes, and their product may be anything.
            if (__builtin_mul_overflow(stride, std::max<std::int64_t>(tensor.sizes[i], 1), &stride))
                stride = 1;
        }
        pieces.push_back({offsets[0], offsets[1]});
        result.storages.push_back({known->type, data.substr(offsets[0], offsets[1] - offsets[0])});
        result.tensors.push_back(std::move(tensor));
    }
    // The format has neither gaps nor overlaps. JSON has no order: the tensors are given that of their data.
    std::vector<std::size_t> order(pieces.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return std::pair(pieces[a].begin, pieces[a].end) < std::pair(pieces[b].begin, pieces[b].end);
    });
    std::uint64_t at = 0;
    std::vector<StoredTensor> sorted;
    for (const std::size_t i : order) {
        if (pieces[i].begin != at) {
            throw DataError(concat("tensor ", result.tensors[i].name, ": expected its data at ", at,
                                   ", found them at ", pieces[i].begin));
        }
        at = pieces[i].end;
        sorted.push_back(std::move(result.tensors[i]));
    }
    if (at != data.size()) throw DataError(concat("expected ", at, " bytes of data, found ", data.size()));
    result.tensors = std::move(sorted);
    return result;
}

}  // namespace retort::detail

#endif
