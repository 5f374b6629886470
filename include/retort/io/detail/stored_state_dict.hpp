// SPDX-License-Identifier: BSL-1.0
/// \file
/// Between what files say about tensors and tensors.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/io/detail/stored_tensor.hpp>
#include <retort/io/state_dict.hpp>

namespace retort::detail {

/// In the order of `element_types`.
inline constexpr std::array<at::ScalarType, element_types.size()> scalar_types{
    at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,         at::kInt,
    at::kShort,  at::kChar,  at::kByte, at::kBool,     at::kComplexFloat, at::kComplexDouble};

/// \throws ConfigError if files have no such type
inline ElementType element_type(const at::Tensor& tensor, const std::string& name) {
    for (std::size_t i = 0; i < scalar_types.size(); ++i) {
        if (scalar_types[i] == tensor.scalar_type() && tensor.layout() == at::kStrided &&
            !tensor.is_quantized()) {
            return element_types[i].type;
        }
    }
    throw ConfigError(concat("tensor ", name,
                             ": expected a dense one of floating-point, integer, boolean or complex "
                             "numbers, found ",
                             tensor.toString()));
}

/// Copies the elements; the tensors look at the copies, and share them where they do so in the file.
inline StateDict to_state_dict(const StoredTensors& stored) {
    std::vector<at::Tensor> elements(stored.storages.size());
    StateDict result("tensor");
    for (const StoredTensor& each : stored.tensors) {
        const StoredElements& source = stored.storages[each.storage];
        check_stored(each, source);
        at::Tensor& target = elements[each.storage];
        if (!target.defined()) {
            const auto type = scalar_types[static_cast<std::size_t>(source.type)];
            const auto count = static_cast<std::int64_t>(source.bytes.size() / element_size(source.type));
            target = at::empty({count}, type == at::kBool ? at::kByte : type);
            if (count > 0) std::memcpy(target.data_ptr(), source.bytes.data(), source.bytes.size());
            if (type == at::kBool) target = target.ne(0);  // a byte that is neither 0 nor 1 is no bool
        }
        if (result.contains(each.name)) {
            throw DataError(concat("tensor ", each.name, ": expected it once, found it twice"));
        }
        result.insert(each.name, target.as_strided(each.sizes, each.strides, each.offset));
    }
    return result;
}

}  // namespace retort::detail
