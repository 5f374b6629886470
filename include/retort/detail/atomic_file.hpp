// SPDX-License-Identifier: BSL-1.0
/// \file
/// Files written atomically.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/write_all.hpp>

namespace retort::detail {

/// Flushes a directory to disk, so that renames in it survive a system crash. Returns the system's error; 0 also if
/// the file system does not support this.
inline int flush_directory(const std::filesystem::path& directory) {
    const std::filesystem::path path = directory.empty() ? std::filesystem::path(".") : directory;
    const int file = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return errno == EACCES ? 0 : errno;  // writable but not readable
    const int code = ::fsync(file) == 0 ? 0 : errno;
    ::close(file);
    return code == EINVAL || code == ENOTSUP ? 0 : code;
}

/// The temporary file of this process beside a target.
inline std::filesystem::path part_of(const std::filesystem::path& target) {
    return target.string() + ".part" + std::to_string(::getpid());
}

/// Opens a new file for writing. Never one that exists, nor what a link of this name refers to: what a killed process of
/// the same number has left is removed.
/// \returns the descriptor; -1 with errno
inline int create_part(const std::filesystem::path& part) {
    const auto create = [&] {
        return ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    };
    const int file = create();
    if (file >= 0 || errno != EEXIST || ::unlink(part.c_str()) != 0) return file;
    return create();
}

/// Removes the temporary files that processes which are no longer alive have left beside a target.
inline void remove_leftovers(const std::filesystem::path& target) {
    const std::string begin = target.filename().string() + ".part";
    const std::filesystem::path directory = target.parent_path();
    std::error_code error;
    std::filesystem::directory_iterator entries(directory.empty() ? std::filesystem::path(".") : directory,
                                                error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
        const std::string name = entries->path().filename().string();
        if (!name.starts_with(begin)) continue;
        ::pid_t process = 0;
        const char* const end = name.data() + name.size();
        const auto [stop, code] = std::from_chars(name.data() + begin.size(), end, process);
        if (code != std::errc() || stop != end || process <= 0) continue;
        const bool alive = process == ::getpid() || ::kill(process, 0) == 0 || errno != ESRCH;
        if (!alive) ::unlink(entries->path().c_str());
    }
}

/// Runs `write(path)` on a temporary file next to `target`, flushes it to disk, renames it to `target` and flushes
/// the directory. On any failure before the rename, the temporary file is removed, and an existing `target` is
/// unchanged.
/// \throws OutputError with the path and the system's reason
template <class Write>
void write_beside(const std::filesystem::path& target, Write&& write) {
    const std::filesystem::path beside = part_of(target);
    const auto fail = [&](const char* what, int code) {
        std::error_code ignored;
        std::filesystem::remove(beside, ignored);
        throw OutputError(concat(target.string(), ": cannot ", what, ": ", std::strerror(code)));
    };
    try {
        write(beside);
    } catch (...) {
        std::error_code ignored;
        std::filesystem::remove(beside, ignored);
        throw;
    }
    const int file = ::open(beside.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail("open the file that was written", errno);
    const int synced = ::fsync(file) == 0 ? 0 : errno;
    ::close(file);
    if (synced != 0) fail("flush to the disk", synced);
    if (std::rename(beside.c_str(), target.c_str()) != 0) fail("rename the finished file", errno);
    if (const int code = flush_directory(target.parent_path()); code != 0) fail("flush the directory", code);
}

/// Writes to `target`, atomically, what `produce(append)` passes to `append(std::string_view)` piece by piece.
///
/// `append` does not throw, since it may be called through C: after an error further calls do nothing.
/// \throws OutputError with the path and the system's reason
template <class Produce>
void write_pieces(const std::filesystem::path& target, Produce&& produce) {
    write_beside(target, [&](const std::filesystem::path& path) {
        const int file = create_part(path);
        if (file < 0) throw OutputError(concat(target.string(), ": cannot create: ", std::strerror(errno)));
        int code = 0;
        const auto append = [&](std::string_view content) {
            if (code == 0) code = write_all(file, content);
        };
        try {
            std::forward<Produce>(produce)(append);
        } catch (...) {
            ::close(file);
            throw;
        }
        if (::close(file) != 0 && code == 0) code = errno;
        if (code != 0) throw OutputError(concat(target.string(), ": cannot write: ", std::strerror(code)));
    });
}

/// Writes `content` to `target`, atomically.
/// \throws OutputError with the path and the system's reason
inline void write_atomically(const std::filesystem::path& target, std::string_view content) {
    write_pieces(target, [&](auto&& append) { append(content); });
}

/// Checks that a file can be written at `target`, before any work is done for it. Removes what a process that was killed
/// while it wrote there has left.
/// \throws OutputError with the path and the system's reason
inline void check_writable(const std::filesystem::path& target) {
    std::error_code ignored;  // what cannot be inspected cannot be created either
    if (std::filesystem::is_directory(target, ignored)) {
        throw OutputError(concat(target.string(), ": expected a file or nothing there, found a directory"));
    }
    remove_leftovers(target);
    const std::filesystem::path beside = part_of(target);
    const int file = create_part(beside);
    if (file < 0) throw OutputError(concat(target.string(), ": cannot create: ", std::strerror(errno)));
    ::close(file);
    ::unlink(beside.c_str());
}

}  // namespace retort::detail
