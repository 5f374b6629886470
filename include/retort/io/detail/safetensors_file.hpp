// SPDX-License-Identifier: BSL-1.0
/// \file
/// Finds the tensors in a file of the format safetensors. Independent of LibTorch, but needs nlohmann-json.
#pragma once

#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/detail/byte_reader.hpp>
#include <retort/io/detail/stored_tensor.hpp>

namespace retort::detail {

/// The entry of a header for one tensor.
struct SafetensorsEntry {
    std::string name{};
    std::string type{};
    std::vector<std::uint64_t> shape{}, offsets{};
};

/// Takes a header as it is parsed, without recursion and with no more memory than it has entries, however it is nested.
/// The public members are those of nlohmann::json_sax.
class SafetensorsHeader {
    using Json = nlohmann::json;

  public:
    /// \param metadata may be null
    /// \throws DataError
    SafetensorsHeader(std::string_view header, std::map<std::string, std::string>* metadata)
        : metadata_(metadata) {
        Json::sax_parse(header.begin(), header.end(), this);
    }
    std::vector<SafetensorsEntry>& entries() { return entries_; }

    bool null() { return other("null"); }
    bool boolean(bool) { return other("a boolean"); }
    bool number_integer(std::int64_t value) { return other(concat(value)); }
    bool number_float(double, const std::string& text) { return other(excerpt(text)); }
    bool binary(std::vector<std::uint8_t>&) { return other("binary data"); }
    bool number_unsigned(std::uint64_t value) {
        if (depth_ != 3 || list_ == nullptr) return other(concat(value));
        if (value > (std::uint64_t{1} << 62)) refuse(concat(field_, " of numbers below 2^62"), concat(value));
        if (list_->size() == most_dimensions)
            refuse(concat(field_, " of at most ", most_dimensions, " numbers"), "more");
        list_->push_back(value);
        return true;
    }
    bool string(std::string& value) {
        if (depth_ == 2 && in_metadata_) {
            if (metadata_ != nullptr) metadata_->emplace(field_, std::move(value));
        } else if (depth_ == 2 && field_ == "dtype") {
            entries_.back().type = std::move(value);
        } else {
            return other("text");
        }
        return true;
    }
    bool start_object(std::size_t) {
        if (depth_ >= 2) other("an object");
        ++depth_;
        return true;
    }
    bool end_object() {
        if (--depth_ != 1 || in_metadata_) return true;
        for (const char* const field : {"dtype", "shape", "data_offsets"}) {
            if (!fields_.contains(field)) refuse("dtype, shape and data_offsets", concat("no ", field));
        }
        return true;
    }
    bool start_array(std::size_t) {
        if (depth_ == 2 && !in_metadata_ && field_ == "shape") {
            list_ = &entries_.back().shape;
        } else if (depth_ == 2 && !in_metadata_ && field_ == "data_offsets") {
            list_ = &entries_.back().offsets;
        } else {
            other("a list");
        }
        ++depth_;
        return true;
    }
    bool end_array() {
        if (--depth_ == 2) list_ = nullptr;
        return true;
    }
    bool key(std::string& name) {
        if (depth_ == 1) {
            if (!names_.insert(name).second)
                throw DataError(concat('"', excerpt(name), "\": expected it once, found it twice"));
            fields_.clear();
            in_metadata_ = name == "__metadata__";
            if (!in_metadata_) entries_.emplace_back().name = std::move(name);
        } else if (depth_ == 2) {
            if (!fields_.insert(name).second) refuse(concat(excerpt(name), " once"), "it twice");
            field_ = std::move(name);
        }
        return true;
    }
    bool parse_error(std::size_t, const std::string&, const Json::exception& error) {
        throw DataError(concat("expected a header in JSON, found: ", excerpt(error.what(), 200)));
    }

  private:
    /// A value of any other kind: an error, or part of a field that the format does not have.
    bool other(std::string_view found) const {
        if (depth_ == 0) throw DataError(concat("expected a JSON object as the header, found ", found));
        if (in_metadata_) refuse("texts", found);
        if (depth_ == 1) refuse("dtype, shape and data_offsets", found);
        if (field_ == "dtype") refuse("a dtype such as F32", found);
        if (field_ == "shape" || field_ == "data_offsets")
            refuse(concat(field_, " to be a list of numbers of at least 0"), found);
        return true;
    }
    [[noreturn]] void refuse(std::string_view expected, std::string_view found) const {
        const std::string who =
            in_metadata_ ? std::string("__metadata__") : concat("tensor ", excerpt(entries_.back().name));
        throw DataError(concat(who, ": expected ", expected, ", found ", found));
    }

    std::map<std::string, std::string>* metadata_;
    std::vector<SafetensorsEntry> entries_{};
    std::unordered_set<std::string> names_{}, fields_{};
    bool in_metadata_ = false;
    std::string field_{};
    std::vector<std::uint64_t>* list_ = nullptr;  // that numbers go to
    std::size_t depth_ = 0;                       // of objects and lists
};

inline StoredTensors parse_safetensors(std::string_view file,
                                       std::map<std::string, std::string>* metadata = nullptr) {
    constexpr std::uint64_t most = 100'000'000;  // bytes of a header, by the format's own reader
    ByteReader reader(file);
    const auto header_length = reader.number<std::uint64_t>("the header's length");
    const std::string_view text = reader.take(header_length, "a header");
    if (header_length > most)
        throw DataError(concat("expected a header of at most ", most, " bytes, found ", header_length));
    SafetensorsHeader header(text, metadata);
    const std::string_view data = reader.take(reader.left(), "data");

    std::vector<SafetensorsEntry>& entries = header.entries();
    const auto refuse = [](const SafetensorsEntry& entry, std::string_view expected, std::string_view found) {
        throw DataError(concat("tensor ", excerpt(entry.name), ": expected ", expected, ", found ", found));
    };
    for (const SafetensorsEntry& entry : entries) {
        const auto& offsets = entry.offsets;
        if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size()) {
            refuse(entry, concat("two data_offsets within the ", data.size(), " bytes of data"),
                   offsets.size() == 2 ? concat(offsets[0], " and ", offsets[1]) : concat(offsets.size()));
        }
    }
    // JSON objects have no order: the tensors get that of their data, which has neither gaps nor overlaps.
    std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
        return std::tie(a.offsets, a.name) < std::tie(b.offsets, b.name);
    });
    StoredTensors result;
    std::uint64_t at = 0;
    for (SafetensorsEntry& entry : entries) {
        const std::uint64_t length = entry.offsets[1] - entry.offsets[0];
        if (entry.offsets[0] != at)
            refuse(entry, concat("its data at ", at), concat("them at ", entry.offsets[0]));
        at += length;
        const auto known = std::find_if(element_types.begin(), element_types.end(), [&](const auto& each) {
            return !each.safetensors.empty() && entry.type == each.safetensors;
        });
        if (known == element_types.end()) {
            result.unreadable.push_back(
                {std::move(entry.name), concat("a tensor of the unknown dtype ", excerpt(entry.type, 20))});
            continue;
        }
        StoredTensor tensor;
        tensor.type = known->type;
        tensor.storage = result.storages.size();
        std::uint64_t bytes = known->bytes;
        bool overflow = false;
        for (const std::uint64_t size : entry.shape) {
            tensor.sizes.push_back(static_cast<std::int64_t>(size));
            overflow = overflow || __builtin_mul_overflow(bytes, size, &bytes);
        }
        if (overflow || bytes != length) refuse(entry, "as many bytes as its shape needs", concat(length));
        tensor.strides.resize(tensor.sizes.size());
        std::int64_t stride = 1;
        for (std::size_t i = tensor.sizes.size(); i-- > 0;) {
            tensor.strides[i] = stride;
            // If one size is 0, the others say nothing about the bytes, and their product may be anything.
            if (__builtin_mul_overflow(stride, std::max<std::int64_t>(tensor.sizes[i], 1), &stride))
                stride = 1;
        }
        tensor.name = std::move(entry.name);
        result.storages.push_back({known->type, data.substr(entry.offsets[0], length)});
        result.tensors.push_back(std::move(tensor));
    }
    if (at != data.size()) throw DataError(concat("expected ", at, " bytes of data, found ", data.size()));
    return result;
}

}  // namespace retort::detail

#endif
