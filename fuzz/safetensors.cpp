// SPDX-License-Identifier: BSL-1.0
#include "consume.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <retort/io/detail/safetensors_file.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view file(reinterpret_cast<const char*>(data), size);
    try {
        consume(retort::detail::parse_safetensors(file), size);
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
