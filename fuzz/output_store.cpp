// SPDX-License-Identifier: BSL-1.0
#include "temporary_file.hpp"

#include <cstddef>
#include <cstdint>

#include <retort/teacher/detail/output_store.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto path = as_file("1-0.outputs", data, size);
    try {
        // As in the corpus: a record is 16 bytes of key, 12 of content, 8 of checksum.
        retort::detail::OutputStore store(path.parent_path(), "teacher: a\nlogits: Float [3]\n", 12);
        if (store.records() > size / 36) __builtin_trap();
        for (const auto& key : store.keys()) {
            const auto content = store.find(key);
            if (!content || content->size() != 12) __builtin_trap();
            volatile char sink = content->front();
            sink = content->back();
            static_cast<void>(sink);
        }
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
