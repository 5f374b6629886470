// SPDX-License-Identifier: BSL-1.0
/// \file
/// Locks that are released when the process that holds them ends.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include <retort/core/error.hpp>

namespace retort::detail {

/// An empty file whose bytes stand for resources that one process at a time may hold. The system releases a lock when
/// the process ends, however it ends; a process that is slow or suspended keeps it. There are no timeouts.
///
/// The locks are Linux's open file description locks: two objects of one process exclude each other, too. A child of
/// `fork` that does not execute another program shares its parent's locks.
class LockFile {
  public:
    /// \throws OutputError if the file cannot be opened or created
    explicit LockFile(std::filesystem::path path)
        : path_(std::move(path)),
          file_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666)) {
        if (file_ < 0)
            throw OutputError(concat(path_.string(), ": cannot open or create: ", std::strerror(errno)));
    }
    /// The file with its first byte locked; nothing if another process holds it. Such a file may be removed by `remove`.
    /// \throws OutputError if the file cannot be opened or created, or its file system has no locks
    static std::optional<LockFile> exclusive(const std::filesystem::path& path) {
        while (true) {
            LockFile file(path);
            if (!file.take(0)) return std::nullopt;
            if (file.at_its_path()) return file;  // otherwise its holder removed it in the meantime
        }
    }
    LockFile(LockFile&& other) noexcept { *this = std::move(other); }
    LockFile& operator=(LockFile&& other) noexcept {
        std::swap(path_, other.path_);
        std::swap(file_, other.file_);
        std::swap(held_, other.held_);
        return *this;
    }
    ~LockFile() {
        if (file_ >= 0) ::close(file_);
    }

    /// Locks a byte. \returns false if it is locked already, by another process or by this object
    /// \throws OutputError if the file system has no locks
    bool take(std::int64_t byte) {
        // The system would grant it to the same file description again.
        return !held_.contains(byte) && set(byte, F_WRLCK) && held_.insert(byte).second;
    }
    void release(std::int64_t byte) {
        held_.erase(byte);
        set(byte, F_UNLCK);
    }
    /// Removes the file.
    /// \pre made by `exclusive`
    void remove() const {
        std::error_code ignored;  // a leftover file does no harm
        std::filesystem::remove(path_, ignored);
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
            if (errno != EINTR) {
                throw OutputError(concat(path_.string(),
                                         ": expected a file system with locks, found that it cannot lock: ",
                                         std::strerror(errno)));
            }
        }
        return true;
    }
    bool at_its_path() const {
        struct stat mine{}, there{};
        return ::fstat(file_, &mine) == 0 && ::stat(path_.c_str(), &there) == 0 &&
               mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
    }

    std::filesystem::path path_;
    int file_ = -1;
    std::set<std::int64_t> held_;
};

}  // namespace retort::detail
