// SPDX-License-Identifier: BSL-1.0
/// \file
/// Files written atomically.
#pragma once

#include <filesystem>
#include <string_view>

#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>

namespace retort {

/// Writes `content` to a file, atomically: to a temporary file in the same directory, which is flushed to disk
/// and renamed. On failure an earlier file of that name is left unchanged.
/// \throws OutputError with the path and the system's reason
inline void write_file(const std::filesystem::path& path, std::string_view content) {
    detail::write_atomically(path, content);
}

/// Checks that `write_file` can write a file, before any work is done for it; leaves the disk unchanged.
/// \throws OutputError with the path and the system's reason
inline void check_writable(const std::filesystem::path& path) { detail::check_writable(path); }

}  // namespace retort
