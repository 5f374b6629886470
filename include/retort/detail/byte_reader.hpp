// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reads little-endian numbers and pieces out of bytes that nobody vouches for.
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

/// Where in a file something was found that should not be there. Readers of whole files add the file's name.
struct MalformedBytes : DataError {
    MalformedBytes(std::size_t offset, std::string_view expected, std::string_view found)
        : DataError(concat("at offset ", offset, ": expected ", expected, ", found ", found)) {}
};

/// Bytes with a position. Every read is checked against the end.
class ByteReader {
  public:
    explicit ByteReader(std::string_view bytes, std::size_t position = 0)
        : bytes_(bytes), position_(position) {
        if (position > bytes.size()) {
            throw MalformedBytes(bytes.size(), concat("the file to go on to offset ", position), "its end");
        }
    }

    std::size_t position() const { return position_; }
    std::size_t left() const { return bytes_.size() - position_; }

    /// The next `count` bytes.
    /// \throws MalformedBytes if there are fewer
    std::string_view take(std::uint64_t count, std::string_view what) {
        if (count > left()) {
            throw MalformedBytes(position_, concat(count, " bytes of ", what),
                                 concat(left(), " until the end of the file"));
        }
        const std::string_view result = bytes_.substr(position_, static_cast<std::size_t>(count));
        position_ += static_cast<std::size_t>(count);
        return result;
    }
    /// The next bytes as a little-endian number.
    template <class Number>
        requires std::is_integral_v<Number>
    Number number(std::string_view what) {
        static_assert(std::endian::native == std::endian::little);
        Number value;
        std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
        return value;
    }
    /// The bytes up to the next newline, which is taken, too.
    std::string_view line(std::string_view what) {
        const std::size_t end = bytes_.find('\n', position_);
        if (end == std::string_view::npos) {
            throw MalformedBytes(position_, concat("a line with ", what), "no end of it");
        }
        const std::string_view result = bytes_.substr(position_, end - position_);
        position_ = end + 1;
        return result;
    }

  private:
    std::string_view bytes_;
    std::size_t position_;
};

}  // namespace retort::detail
