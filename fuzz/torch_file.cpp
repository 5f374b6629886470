// SPDX-License-Identifier: BSL-1.0
#include "consume.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <retort/io/detail/torch_file.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view file(reinterpret_cast<const char*>(data), size);
    try {
        consume(retort::detail::ZipArchive::recognizes(file) ? retort::detail::read_torch_zip(file, "")
                                                             : retort::detail::read_torch_legacy(file, ""),
                size);
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
