// SPDX-License-Identifier: BSL-1.0
#include "consume.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <retort/io/detail/safetensors_file.hpp>
#include <retort/transport/frame.hpp>

/// Frames, and the messages in them: what is read is written and read again, as it was.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace retort::transport;
    const Bytes bytes(std::string(reinterpret_cast<const char*>(data), size));
    try {
        const Frame frame = decode(bytes);
        const Header& header = frame.header;
        if (header.kind.size() + header.run.size() + header.sender.size() + header.model.size() +
                header.inbox.size() + frame.payload.size() >
            size)
            __builtin_trap();
        const Frame again = decode(encode(frame));
        if (!(again.header == header) || again.payload.view() != frame.payload.view()) __builtin_trap();
        if (error_text(error_frame(header, frame.payload.view())).size() > 1024) __builtin_trap();
        consume(retort::detail::parse_safetensors(frame.payload.view()), frame.payload.size());
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
