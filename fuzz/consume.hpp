// SPDX-License-Identifier: BSL-1.0
/// \file
/// Accesses the elements that a reader found as a tensor would.
#pragma once

#include <cstddef>
#include <cstdint>

#include <retort/io/detail/stored_tensor.hpp>

/// Reads the first and the last element of every tensor that passed the checks. Traps if one is larger than the stored
/// data.
inline void consume(const retort::detail::StoredTensors& stored, std::size_t file_size) {
    volatile char sink = 0;
    std::size_t total = 0;
    for (const auto& elements : stored.storages) total += elements.bytes.size();
    if (total > file_size) __builtin_trap();
    for (const auto& tensor : stored.tensors) {
        const auto& elements = stored.storages[tensor.storage];
        check_stored(tensor, elements);
        std::int64_t count = 1, last = tensor.offset;
        for (std::size_t i = 0; i < tensor.sizes.size(); ++i) {
            count *= tensor.sizes[i];
            last += (tensor.sizes[i] > 0 ? tensor.sizes[i] - 1 : 0) * tensor.strides[i];
        }
        if (count == 0) continue;
        const std::size_t size = retort::detail::element_size(elements.type);
        sink = elements.bytes.data()[static_cast<std::size_t>(tensor.offset) * size];
        sink = elements.bytes.data()[(static_cast<std::size_t>(last) + 1) * size - 1];
    }
    static_cast<void>(sink);
}
