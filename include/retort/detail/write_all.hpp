// SPDX-License-Identifier: BSL-1.0
/// \file
/// Writes a whole buffer.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string_view>

namespace retort::detail {

/// Writes `bytes` to an open file, in as many system calls as it takes: each may write only a part, or be interrupted
/// by a signal.
/// \returns the system's error, 0 for none; on error a part may have been written
inline int write_all(int file, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(file, bytes.data(), bytes.size());
        if (count >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(count));
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

}  // namespace retort::detail
