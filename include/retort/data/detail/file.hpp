// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reads a data file, plain or gzip by its content, and tracks its position for errors.
///
/// RETORT_WITH_ZLIB=1 (set by the CMake target where zlib is found) lets it read gzip; it must have the same
/// value in the whole program.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
#include <zlib.h>
#endif

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/mapped_file.hpp>

namespace retort::data::detail {

using Bytes = std::vector<std::uint8_t>;

/// The first bytes of a gzip file.
inline constexpr std::string_view gzip_magic("\x1f\x8b", 2);

/// Throws the error of a malformed file.
[[noreturn]] inline void malformed(const std::filesystem::path& path, std::uint64_t offset,
                                   const std::string& expected, const std::string& found) {
    throw DataError(::retort::detail::concat(
        path.string(), ": ", ::retort::detail::MalformedBytes(offset, expected, found).what()));
}

/// `1f 8b` for { 0x1f, 0x8b }.
inline std::string hexadecimal(const std::uint8_t* bytes, std::size_t count) {
    std::string words;
    for (std::size_t i = 0; i < count; ++i) {
        std::array<char, 4> word{};
        std::snprintf(word.data(), word.size(), "%02x", static_cast<unsigned>(bytes[i]));
        if (i > 0)
            words += ' ';  // not with operator+, for which GCC 12 warns wrongly at -O3 (its bug 105651)
        words += word.data();
    }
    return words;
}

/// The bytes of a regular file that is not empty.
/// \throws DataError if there is no such file, or it is a directory, a pipe, a device, empty or unreadable
inline ::retort::detail::MappedFile data_file(const std::filesystem::path& path) {
    ::retort::detail::MappedFile file(path);
    if (file.bytes().empty()) malformed(path, 0, "data", "an empty file");
    return file;
}

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB

/// Unpacks a gzip file (RFC 1952) of one or more members, and checks the checksum and length of each.
class Gunzip {
  public:
    Gunzip(std::filesystem::path path, std::string_view packed) : path_(std::move(path)), packed_(packed) {
        if (inflateInit2(&stream_, 15 + 16) != Z_OK) {  // the largest window; gzip alone
            throw DataError(::retort::detail::concat(path_.string(), ": zlib cannot be initialized"));
        }
    }
    ~Gunzip() { inflateEnd(&stream_); }
    Gunzip(const Gunzip&) = delete;
    Gunzip& operator=(const Gunzip&) = delete;

    /// Unpacks up to `count` bytes; fewer only at the end of the last member, if it is valid.
    std::size_t read(std::uint8_t* to, std::size_t count) {
        std::size_t done = 0;
        while (done < count && !finished_) {
            if (between_members_) {
                if (!next_member()) break;
                continue;
            }
            if (stream_.avail_in == 0) refill();
            if (stream_.avail_in == 0) {
                malformed(path_, packed_.size(), "the rest of a gzip stream",
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
                malformed(path_, position(), "a valid gzip stream",
                          stream_.msg != nullptr ? stream_.msg : "one that zlib cannot unpack");
            }
        }
        unpacked_ += done;
        return done;
    }

  private:
    /// The position of the unpacking in the compressed file.
    std::size_t position() const { return given_ - stream_.avail_in; }
    /// Passes the remaining bytes to zlib, as many as its counter can represent.
    void refill() {
        const std::size_t at = position();
        stream_.avail_in =
            static_cast<uInt>(std::min<std::size_t>(packed_.size() - at, std::numeric_limits<uInt>::max()));
        stream_.next_in =
            reinterpret_cast<Bytef*>(const_cast<char*>(packed_.data() + at));  // zlib only reads it
        given_ = at + stream_.avail_in;
    }
    bool next_member() {
        const std::string_view rest = packed_.substr(position());
        if (rest.empty()) {
            finished_ = true;
            return false;
        }
        if (!rest.starts_with(gzip_magic)) {
            malformed(path_, position(), "the end of the file after the gzip stream",
                      ::retort::detail::concat(rest.size(), " more bytes, beginning with ",
                                               hexadecimal(reinterpret_cast<const std::uint8_t*>(rest.data()),
                                                           std::min<std::size_t>(rest.size(), 2))));
        }
        inflateReset(&stream_);
        between_members_ = false;
        return true;
    }

    std::filesystem::path path_;
    std::string_view packed_;
    std::size_t given_ = 0;  // bytes passed to zlib
    z_stream stream_{};
    std::uint64_t unpacked_ = 0;
    bool between_members_ = false;
    bool finished_ = false;
};

#endif

/// The content of a file: its bytes, or what it unpacks to if it is gzip, as determined by its first bytes, not by its
/// name.
class Source {
  public:
    explicit Source(std::filesystem::path path)
        : path_(std::move(path)), file_(data_file(path_)), reader_(file_.bytes()) {
        packed_ = file_.bytes().starts_with(gzip_magic);
        if (!packed_) return;
#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
        gunzip_ = std::make_unique<Gunzip>(path_, file_.bytes());
#else
        malformed(path_, 0, "plain data (retort was built without zlib, RETORT_WITH_ZLIB)", "a gzip file");
#endif
    }

    const std::filesystem::path& path() const { return path_; }
    /// The number of bytes read so far, counted after unpacking.
    std::uint64_t offset() const { return offset_; }
    /// The number of bytes left, if known without unpacking them.
    std::optional<std::uint64_t> left() const {
        return packed_ ? std::nullopt : std::optional<std::uint64_t>(reader_.left());
    }

    /// Reads up to `count` bytes; fewer only at the end.
    std::size_t read(std::uint8_t* to, std::size_t count) {
        std::size_t got = 0;
#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
        if (packed_) got = gunzip_->read(to, count);
#endif
        if (!packed_) {
            const std::string_view bytes = reader_.take(std::min(count, reader_.left()), "data");
            got = bytes.size();
            if (got > 0) std::memcpy(to, bytes.data(), got);
        }
        offset_ += got;
        return got;
    }

    /// Reads exactly `count` bytes. Never allocates more than twice the actual content of the file.
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

    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

  private:
    std::filesystem::path path_;
    ::retort::detail::MappedFile file_;
    ::retort::detail::ByteReader reader_;  // of plain data
    bool packed_ = false;
    std::uint64_t offset_ = 0;
#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
    std::unique_ptr<Gunzip> gunzip_;
#endif
};

}  // namespace retort::data::detail
