// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reads a data file, plain or gzip by its content, and tracks its position for errors.
///
/// RETORT_WITH_ZLIB=1 (set by the CMake target where zlib is found) lets it read gzip; it must have the same
/// value in all of a program.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
#include <zlib.h>
#endif

#include <retort/core/error.hpp>

namespace retort::data::detail {

using Bytes = std::vector<std::uint8_t>;

/// Throws the error of a malformed file.
[[noreturn]] inline void malformed(const std::filesystem::path& path, std::uint64_t offset,
                                   const std::string& expected, const std::string& found) {
    throw DataError(::retort::detail::concat(path.string(), ": at offset ", offset, ": expected ", expected,
                                             ", found ", found));
}

/// `1f 8b` for { 0x1f, 0x8b }.
inline std::string hexadecimal(const std::uint8_t* bytes, std::size_t count) {
    std::string words;
    for (std::size_t i = 0; i < count; ++i) {
        std::array<char, 4> word{};
        std::snprintf(word.data(), word.size(), "%02x", static_cast<unsigned>(bytes[i]));
        if (i > 0) words += ' ';  // not by operator+, of which GCC 12 wrongly warns at -O3 (its bug 105651)
        words += word.data();
    }
    return words;
}

/// A regular file that is not empty, opened for reading.
class File {
  public:
    /// \throws DataError if there is no such file, or it is a directory, a pipe, a device, empty or unreadable.
    explicit File(std::filesystem::path path) : path_(std::move(path)) {
        std::error_code error;
        const auto status = std::filesystem::status(path_, error);
        if (status.type() == std::filesystem::file_type::not_found) fail("no such file");
        if (error) fail(error.message());
        // Anything else could block forever (a pipe) or never end (a device).
        if (status.type() == std::filesystem::file_type::directory) fail("a directory");
        if (status.type() != std::filesystem::file_type::regular) fail("a pipe, socket or device");
        size_ = std::filesystem::file_size(path_, error);
        if (error) fail(error.message());
        if (size_ == 0) malformed(path_, 0, "data", "an empty file");
        stream_.reset(std::fopen(path_.string().c_str(), "rb"));
        if (!stream_) fail(std::error_code(errno, std::generic_category()).message());
    }

    const std::filesystem::path& path() const { return path_; }
    /// The size of the file in bytes.
    std::uint64_t size() const { return size_; }
    /// The number of bytes read so far.
    std::uint64_t offset() const { return offset_; }

    /// Reads up to `count` bytes; fewer only at the end of the file.
    std::size_t read(std::uint8_t* to, std::size_t count) {
        const auto got = std::fread(to, 1, count, stream_.get());
        if (got < count && std::ferror(stream_.get()) != 0) {
            malformed(path_, offset_ + got, "readable data",
                      std::error_code(errno, std::generic_category()).message());
        }
        offset_ += got;
        return got;
    }
    void rewind() {
        std::rewind(stream_.get());
        offset_ = 0;
    }

  private:
    struct Close {
        void operator()(std::FILE* stream) const { std::fclose(stream); }
    };
    [[noreturn]] void fail(const std::string& found) const {
        throw DataError(
            ::retort::detail::concat(path_.string(), ": expected a readable file, found ", found));
    }

    std::filesystem::path path_;
    std::uint64_t size_ = 0;
    std::uint64_t offset_ = 0;
    std::unique_ptr<std::FILE, Close> stream_;
};

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB

/// Unpacks a gzip file (RFC 1952) of one or more members, and checks the checksum and length of each.
class Gunzip {
  public:
    explicit Gunzip(File& file) : file_(&file) {
        if (inflateInit2(&stream_, 15 + 16) != Z_OK) {  // the largest window; gzip alone
            throw DataError(::retort::detail::concat(file.path().string(), ": zlib cannot be initialized"));
        }
    }
    ~Gunzip() { inflateEnd(&stream_); }
    Gunzip(const Gunzip&) = delete;
    Gunzip& operator=(const Gunzip&) = delete;

    /// Unpacks up to `count` bytes; fewer only at the end of the last member, if it is sound.
    std::size_t read(std::uint8_t* to, std::size_t count) {
        std::size_t done = 0;
        while (done < count && !finished_) {
            if (stream_.avail_in == 0) refill();
            if (between_members_) {
                if (!next_member()) break;
                continue;
            }
            if (stream_.avail_in == 0) {
                malformed(file_->path(), file_->offset(), "the rest of a gzip stream",
                          ::retort::detail::concat("the end of the file after ", unpacked_ + done,
                                                   " unpacked bytes"));
            }
            const auto room =
                static_cast<uInt>(std::min<std::size_t>(count - done, std::numeric_limits<uInt>::max()));
            stream_.next_out = to + done;
            stream_.avail_out = room;
            const int result = inflate(&stream_, Z_NO_FLUSH);
            done += room - stream_.avail_out;
            if (result == Z_STREAM_END) {
                between_members_ = true;
            } else if (result != Z_OK && result != Z_BUF_ERROR) {
                malformed(file_->path(), position(), "a sound gzip stream",
                          stream_.msg != nullptr ? stream_.msg : "one that zlib does not unpack");
            }
        }
        unpacked_ += done;
        return done;
    }

  private:
    /// Where the unpacking is in the packed file.
    std::uint64_t position() const { return file_->offset() - stream_.avail_in; }
    void refill() {
        stream_.next_in = buffer_.data();
        stream_.avail_in = static_cast<uInt>(file_->read(buffer_.data(), buffer_.size()));
    }
    bool next_member() {
        if (stream_.avail_in == 0) {
            finished_ = true;
            return false;
        }
        if (stream_.avail_in == 1) {
            // The two bytes that begin a member may lie on both sides of the buffer's end.
            buffer_[0] = *stream_.next_in;
            stream_.next_in = buffer_.data();
            stream_.avail_in += static_cast<uInt>(file_->read(buffer_.data() + 1, buffer_.size() - 1));
        }
        if (stream_.avail_in < 2 || stream_.next_in[0] != 0x1f || stream_.next_in[1] != 0x8b) {
            malformed(file_->path(), position(), "the end of the file after the gzip stream",
                      ::retort::detail::concat(
                          file_->size() - position(), " more bytes, beginning with ",
                          hexadecimal(stream_.next_in, std::min<std::size_t>(stream_.avail_in, 2))));
        }
        inflateReset(&stream_);
        between_members_ = false;
        return true;
    }

    File* file_;
    z_stream stream_{};
    std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(std::size_t{1} << 16);
    std::uint64_t unpacked_ = 0;
    bool between_members_ = false;
    bool finished_ = false;
};

#endif

/// The content of a file: its bytes, or what it unpacks to if it is gzip, which its first bytes tell and not its name.
class Source {
  public:
    explicit Source(const std::filesystem::path& path) : file_(path) {
        std::array<std::uint8_t, 2> magic{};
        const auto got = file_.read(magic.data(), magic.size());
        file_.rewind();
        packed_ = got == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
        if (!packed_) return;
#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
        gunzip_ = std::make_unique<Gunzip>(file_);
#else
        malformed(file_.path(), 0, "plain data (retort was built without zlib, RETORT_WITH_ZLIB)",
                  "a gzip file");
#endif
    }

    const std::filesystem::path& path() const { return file_.path(); }
    /// The number of bytes read so far, counted after unpacking.
    std::uint64_t offset() const { return offset_; }
    /// How many bytes are left, if that is known without unpacking them.
    std::optional<std::uint64_t> left() const {
        if (packed_) return std::nullopt;
        return file_.size() - std::min(file_.size(), file_.offset());
    }

    /// Reads up to `count` bytes; fewer only at the end.
    std::size_t read(std::uint8_t* to, std::size_t count) {
        std::size_t got = 0;
#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
        got = packed_ ? gunzip_->read(to, count) : file_.read(to, count);
#else
        got = file_.read(to, count);
#endif
        offset_ += got;
        return got;
    }

    /// Reads exactly `count` bytes. Never allocates more than twice what the file turns out to hold.
    /// \param what names the bytes in errors, such as "47040000 bytes of images".
    /// \throws DataError if there are fewer.
    Bytes exactly(std::uint64_t count, const std::string& what) {
        const auto start = offset_;
        if (const auto known = left(); known && *known < count) {
            malformed(path(), start, what,
                      ::retort::detail::concat("a file that ends after ", *known, " more bytes"));
        }
        Bytes bytes;
        auto room = left() ? count : std::min<std::uint64_t>(count, std::uint64_t{1} << 20);
        for (std::uint64_t filled = 0; filled < count;) {
            bytes.resize(static_cast<std::size_t>(room));
            const auto got = read(bytes.data() + filled, static_cast<std::size_t>(room - filled));
            filled += got;
            if (filled < room) {
                malformed(path(), start, what,
                          ::retort::detail::concat("data that end after ", filled, " more bytes"));
            }
            room = std::min(count, room * 2);
        }
        return bytes;
    }

    /// \throws DataError if anything is left.
    void expect_end() {
        const auto end = offset_;
        const auto known = left();
        std::uint8_t byte = 0;
        if (read(&byte, 1) == 0) return;
        malformed(path(), end, "the end of the data",
                  known ? ::retort::detail::concat(*known, " more bytes") : std::string("more bytes"));
    }

  private:
    File file_;
    bool packed_ = false;
    std::uint64_t offset_ = 0;
#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
    std::unique_ptr<Gunzip> gunzip_;  // points to file_, so a Source stays where it is
#endif

  public:
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
};

}  // namespace retort::data::detail
