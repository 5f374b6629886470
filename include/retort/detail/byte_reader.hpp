// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reads numbers and byte ranges from untrusted bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include <retort/core/error.hpp>

namespace retort::detail {

static_assert(std::endian::native == std::endian::little, "retort: files are read on little-endian machines");

/// Text from a file, for a message: one line of at most `most` bytes, `?` for control characters.
inline std::string excerpt(std::string_view text, std::size_t most = 100) {
    const bool cut = text.size() > most;
    if (cut) {
        const auto continues = [&](std::size_t at) {
            return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U;
        };
        while (most > 0 && continues(most)) --most;  // does not split a UTF-8 character
        text = text.substr(0, most);
    }
    std::string result(text);
    for (char& each : result) {
        const auto code = static_cast<unsigned char>(each);
        if (code < 0x20 || code == 0x7F) each = '?';
    }
    return cut ? result + "..." : result;
}

/// Malformed content of a file, and where it is. Readers of whole files add the file's name.
struct MalformedBytes : DataError {
    MalformedBytes(std::uint64_t offset, std::string_view expected, std::string_view found)
        : DataError(concat("at offset ", offset, ": expected ", expected, ", found ", found)) {}
};

/// Bytes with a position. Every read is bounds-checked.
class ByteReader {
  public:
    explicit ByteReader(std::string_view bytes, std::uint64_t position = 0)
        : bytes_(bytes), position_(static_cast<std::size_t>(position)) {
        if (position > bytes.size())
            throw MalformedBytes(bytes.size(), concat("data at offset ", position), "the end");
    }

    std::size_t position() const { return position_; }
    std::size_t left() const { return bytes_.size() - position_; }

    /// The next `count` bytes.
    /// \throws MalformedBytes if there are fewer
    std::string_view take(std::uint64_t count, std::string_view what) {
        if (count > left()) {
            throw MalformedBytes(position_, concat(count, " bytes of ", what),
                                 concat(left(), " until the end"));
        }
        const std::string_view result = bytes_.substr(position_, static_cast<std::size_t>(count));
        position_ += static_cast<std::size_t>(count);
        return result;
    }
    /// The next bytes as a little-endian number.
    template <class Number>
        requires std::is_integral_v<Number>
    Number number(std::string_view what) {
        Number value;
        std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
        return value;
    }
    /// The next bytes as a big-endian number.
    template <class Number>
        requires std::is_unsigned_v<Number>
    Number big_endian(std::string_view what) {
        std::uint64_t value = 0;
        for (const char each : take(sizeof(Number), what))
            value = value << 8 | static_cast<unsigned char>(each);
        return static_cast<Number>(value);
    }
    /// The bytes up to the next newline, which is consumed as well.
    std::string_view line(std::string_view what) {
        const std::size_t end = bytes_.find('\n', position_);
        if (end == std::string_view::npos)
            throw MalformedBytes(position_, concat("a line with ", what), "no end of line");
        const std::string_view result = bytes_.substr(position_, end - position_);
        position_ = end + 1;
        return result;
    }

  private:
    std::string_view bytes_;
    std::size_t position_;
};

/// Appends a number, little-endian.
template <class Number>
    requires std::is_integral_v<Number>
void append_number(std::string& bytes, Number value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace retort::detail
