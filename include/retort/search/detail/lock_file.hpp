// SPDX-License-Identifier: BSL-1.0
/// \file
/// Locks that die with the process that holds them.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include <retort/core/error.hpp>

namespace retort::detail {

/// A file without content, whose bytes stand for things that one process at a time may hold. The system takes a lock
/// back when the process ends, however it ends; a process that is only slow or stopped keeps it. No clock is asked.
///
/// The locks are Linux's open file description locks: also two objects of one process exclude each other. A child of
/// `fork` that runs no other program shares its parent's.
class LockFile {
  public:
    /// \throws OutputError if the file cannot be opened or made
    explicit LockFile(const std::filesystem::path& path)
        : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
        if (file_ < 0)
            throw OutputError(concat(path.string(), ": cannot open or make: ", std::strerror(errno)));
    }
    LockFile(const LockFile&) = delete;
    LockFile& operator=(const LockFile&) = delete;
    ~LockFile() { ::close(file_); }

    /// Takes the lock of a byte. \returns false if somebody holds it, this object among them
    /// \throws OutputError if the file system has no locks
    bool take(std::int64_t byte) {
        // The system would give it a second time to the same file description.
        return !held_.contains(byte) && set(byte, F_WRLCK) && held_.insert(byte).second;
    }
    void release(std::int64_t byte) {
        held_.erase(byte);
        set(byte, F_UNLCK);
    }

  private:
    bool set(std::int64_t byte, short type) {
        struct flock lock{};
        lock.l_type = type;
        lock.l_whence = SEEK_SET;
        lock.l_start = static_cast<off_t>(byte);
        lock.l_len = 1;
        while (::fcntl(file_, F_OFD_SETLK, &lock) != 0) {
            if (errno == EAGAIN || errno == EACCES) return false;
            if (errno != EINTR)
                throw OutputError(concat(path_.string(), ": cannot lock: ", std::strerror(errno)));
        }
        return true;
    }

    std::filesystem::path path_;
    int file_;
    std::set<std::int64_t> held_;
};

}  // namespace retort::detail
