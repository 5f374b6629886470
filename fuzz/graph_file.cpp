// SPDX-License-Identifier: BSL-1.0
#include <cstddef>
#include <cstdint>
#include <string>

#include <retort/cohort/graph_file.hpp>

/// What is read can be written, and reads back as the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto graph = retort::parse_graph(std::string(reinterpret_cast<const char*>(data), size));
        const std::string text = retort::graph_text(graph);
        if (retort::graph_text(retort::parse_graph(text)) != text) __builtin_trap();
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
