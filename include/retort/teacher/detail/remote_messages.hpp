// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a served teacher and its students say to each other.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <retort/core/error.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/transport/frame.hpp>

namespace retort::detail::remote {

inline constexpr const char* describe = "DESCRIBE";  ///< which teacher is this?
inline constexpr const char* teach = "TEACH";        ///< the tensor `input`
inline constexpr const char* taught =
    "TAUGHT";  ///< the outputs by name, and in the field `key` what they belong to

/// A 128-bit hash of type, shape and content, wherever the tensor is.
inline transport::Id key_of(const at::Tensor& tensor) {
    const at::Tensor memory = in_memory(tensor);
    const std::string kind = concat(at::toString(memory.scalar_type()), memory.sizes());
    transport::Id result;
    for (std::size_t half = 0; half < 2; ++half) {
        Hash hash;
        hash.add(half == 0 ? std::string_view("first") : std::string_view("second"));
        hash.add(kind);
        hash.add(memory.data_ptr(), memory.nbytes());
        result.halves[half] = hash.value();
    }
    return result;
}
inline std::string key_text(const transport::Id& key) { return key.text(); }

}  // namespace retort::detail::remote
