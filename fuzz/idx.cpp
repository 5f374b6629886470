// SPDX-License-Identifier: BSL-1.0
#include "temporary_file.hpp"

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>

#include <retort/data/idx.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const at::Tensor tensor = retort::data::read_idx(as_file("file", data, size));
        // Deflate compresses by a factor of at most 1032.
        if (tensor.nbytes() > 1032 * size) __builtin_trap();
        const at::Tensor copy = tensor.clone();  // every element is read
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
