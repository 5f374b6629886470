// SPDX-License-Identifier: BSL-1.0
/// \file
/// An input as a file, for readers that take a path.
#pragma once

#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>

/// A directory in memory, one for each process, with the input as the only file in it.
inline std::filesystem::path as_file(const char* name, const std::uint8_t* data, std::size_t size) {
    static const std::filesystem::path directory = [] {
        static char pattern[] = "/dev/shm/retort-fuzz-XXXXXX";
        if (::mkdtemp(pattern) == nullptr) __builtin_trap();
        std::atexit([] { std::filesystem::remove_all(pattern); });
        return std::filesystem::path(pattern);
    }();
    std::ofstream(directory / name, std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    return directory / name;
}
