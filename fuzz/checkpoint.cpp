// SPDX-License-Identifier: BSL-1.0
#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <retort/checkpoint/file.hpp>

/// What is read can be written, and reads back as the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto items =
            retort::detail::decode_state({reinterpret_cast<const char*>(data), size}, "checkpoint");
        const std::string bytes = retort::detail::encode_state(items);
        if (retort::detail::encode_state(retort::detail::decode_state(bytes, "again")) != bytes)
            __builtin_trap();
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
