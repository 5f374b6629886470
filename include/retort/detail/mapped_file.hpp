// SPDX-License-Identifier: BSL-1.0
/// \file
/// The bytes of a file.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include <retort/core/error.hpp>

namespace retort::detail {

/// The bytes of a regular file, mapped into memory: what is not accessed is not read.
class MappedFile {
  public:
    /// \throws DataError if there is no such file, or it is not a regular one, or unreadable
    explicit MappedFile(const std::filesystem::path& path) {
        // Without O_NONBLOCK a pipe would wait for a writer.
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (file < 0) throw DataError(concat(path.string(), ": cannot read: ", std::strerror(errno)));
        struct stat status{};
        const bool regular = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
        if (regular && status.st_size > 0) {
            size_ = static_cast<std::size_t>(status.st_size);
            data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        }
        const int code = errno;
        ::close(file);
        if (!regular) {
            throw DataError(concat(path.string(), ": expected a regular file, found a ",
                                   S_ISDIR(status.st_mode) ? "directory" : "pipe, socket or device"));
        }
        if (data_ == MAP_FAILED)
            throw DataError(concat(path.string(), ": cannot map into memory: ", std::strerror(code)));
    }
    MappedFile(MappedFile&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    MappedFile& operator=(MappedFile&&) = delete;
    ~MappedFile() {
        if (data_ != nullptr && data_ != MAP_FAILED) ::munmap(data_, size_);
    }

    std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

  private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace retort::detail
