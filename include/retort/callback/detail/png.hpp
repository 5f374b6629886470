// SPDX-License-Identifier: BSL-1.0
/// \file
/// Uncompressed PNG images, which is all that TensorBoard needs, without a library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <retort/detail/crc.hpp>

namespace retort::detail {

/// \param pixels rows from the top, `channels` bytes per pixel
/// \param channels 1 (gray) or 3 (red, green, blue)
inline std::string png(std::string_view pixels, std::uint32_t width, std::uint32_t height, int channels) {
    const auto big_endian = [](std::uint32_t value) {
        std::string bytes;
        for (int shift = 24; shift >= 0; shift -= 8)
            bytes.push_back(static_cast<char>((value >> shift) & 0xFF));
        return bytes;
    };
    std::string result = "\x89PNG\r\n\x1a\n";
    const auto chunk = [&](std::string_view name, std::string_view content) {
        std::string body(name);
        body.append(content);
        result.append(big_endian(static_cast<std::uint32_t>(content.size()))).append(body);
        result.append(big_endian(reflected_crc<0xEDB88320u>(body)));
    };
    std::string header = big_endian(width);
    header.append(big_endian(height));
    header.append({8, static_cast<char>(channels == 3 ? 2 : 0), 0, 0, 0});
    chunk("IHDR", header);
    // A zlib stream of stored blocks: every row is preceded by the byte for "no filter".
    std::string rows;
    const std::size_t row = std::size_t{width} * static_cast<std::size_t>(channels);
    for (std::size_t y = 0; y < height; ++y) rows.append(1, '\0').append(pixels.substr(y * row, row));
    std::string data = "\x78\x01";
    std::uint32_t low = 1, high = 0;  // Adler-32
    for (const char byte : rows) {
        low = (low + static_cast<unsigned char>(byte)) % 65521;
        high = (high + low) % 65521;
    }
    constexpr std::size_t largest = 65535;
    for (std::size_t done = 0; done < rows.size(); done += largest) {
        const std::size_t size = rows.size() - done < largest ? rows.size() - done : largest;
        data.push_back(done + size == rows.size() ? 1 : 0);
        for (const std::size_t value : {size, ~size}) {
            data.push_back(static_cast<char>(value & 0xFF));
            data.push_back(static_cast<char>((value >> 8) & 0xFF));
        }
        data.append(rows, done, size);
    }
    chunk("IDAT", data.append(big_endian((high << 16) | low)));
    chunk("IEND", "");
    return result;
}

}  // namespace retort::detail
