// SPDX-License-Identifier: BSL-1.0
/// \file
/// Turns the descriptions of tensors in files into tensors.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/compat.hpp>
#include <retort/io/detail/stored_tensor.hpp>
#include <retort/io/state_dict.hpp>

namespace retort::detail {

/// In the order of `ElementType`; Undefined where this LibTorch does not have the type.
inline constexpr std::array<at::ScalarType, element_types.size()> scalar_types{at::kDouble,
                                                                               at::kFloat,
                                                                               at::kHalf,
                                                                               at::kBFloat16,
                                                                               at::kLong,
                                                                               at::kInt,
                                                                               at::kShort,
                                                                               at::kChar,
                                                                               at::kByte,
                                                                               at::kBool,
                                                                               at::kComplexFloat,
                                                                               at::kComplexDouble,
                                                                               at::kComplexHalf,
                                                                               compat::float8_e4m3fn,
                                                                               compat::float8_e5m2,
                                                                               compat::float8_e4m3fnuz,
                                                                               compat::float8_e5m2fnuz,
                                                                               compat::float8_e8m0fnu,
                                                                               compat::uint16,
                                                                               compat::uint32,
                                                                               compat::uint64};

/// The type of a tensor's elements in files.
/// \throws ConfigError if files do not have it
inline const ElementTypeNames& element_type(const at::Tensor& tensor, const std::string& name) {
    if (!tensor.defined())
        throw ConfigError(concat("tensor ", name, ": expected a tensor, found an undefined one"));
    for (std::size_t i = 0; i < scalar_types.size(); ++i) {
        if (scalar_types[i] == tensor.scalar_type() && tensor.layout() == at::kStrided &&
            !tensor.is_quantized()) {
            return element_types[i];
        }
    }
    throw ConfigError(concat("tensor ", name,
                             ": expected a dense one of floating-point, integer, boolean or complex "
                             "numbers, found ",
                             tensor.toString()));
}

/// Copies the elements; the tensors are views of the copies, and share them if they do so in the file.
/// \param left_out gets the names of the entries that are not readable tensors; null: they are an error
inline StateDict to_state_dict(StoredTensors stored, std::vector<std::string>* left_out) {
    const auto readable = [](const StoredTensor& tensor) {
        return scalar_types[static_cast<std::size_t>(tensor.type)] != at::ScalarType::Undefined;
    };
    for (const StoredTensor& each : stored.tensors) {
        if (readable(each)) continue;
        stored.unreadable.push_back({each.name, concat("a tensor of the type ", names_of(each.type).torch,
                                                       ", which this version of LibTorch does not have")});
    }
    if (left_out == nullptr && !stored.unreadable.empty()) {
        throw DataError(concat('"', excerpt(stored.unreadable.front().name),
                               "\": expected a dense tensor, found ", stored.unreadable.front().found,
                               "; ReadOptions::left_out reads the other entries"));
    }
    if (left_out != nullptr) {
        left_out->clear();
        for (UnreadableEntry& each : stored.unreadable) left_out->push_back(std::move(each.name));
    }
    std::vector<at::Tensor> elements(stored.storages.size());
    StateDict result("tensor");
    for (const StoredTensor& each : stored.tensors) {
        const StoredElements& source = stored.storages[each.storage];
        check_stored(each, source);
        if (!readable(each)) continue;
        at::Tensor& target = elements[each.storage];
        const at::ScalarType type = scalar_types[static_cast<std::size_t>(each.type)];
        if (!target.defined()) {
            const auto count = static_cast<std::int64_t>(source.bytes.size() / element_size(each.type));
            target = at::empty({count}, type == at::kBool ? at::kByte : type);
            if (count > 0) std::memcpy(target.data_ptr(), source.bytes.data(), target.nbytes());
            if (type == at::kBool) target = target.ne(0);  // a byte that is neither 0 nor 1 is not a bool
        }
        at::Tensor tensor = target.as_strided(each.sizes, each.strides, each.offset);
        if (each.conjugated) tensor = tensor.conj_physical();
        if (each.negated) tensor = tensor.neg();
        result.insert(each.name, std::move(tensor));
    }
    return result;
}

}  // namespace retort::detail
