// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cyclic redundancy checks: those of zip archives, images and event files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace retort::detail {

/// 32-bit cyclic redundancy check, bit-reflected; `polynomial` reversed: 0xEDB88320 (zip, PNG), 0x82F63B78
/// (Castagnoli's, CRC32C). Eight bytes at a time (Kounavis, Berry, "A Systematic Approach to Building High Performance,
/// Software-based, CRC Generators", 2005).
/// \param before the checksum of the bytes before these
template <std::uint32_t polynomial>
constexpr std::uint32_t reflected_crc(std::string_view bytes, std::uint32_t before = 0) {
    // tables[n][b]: the effect of byte b on a checksum when n zeros follow it.
    constexpr auto tables = [] {
        std::array<std::array<std::uint32_t, 256>, 8> result{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? polynomial : 0);
            result[0][i] = value;
        }
        for (std::size_t n = 1; n < 8; ++n) {
            for (std::size_t i = 0; i < 256; ++i)
                result[n][i] = (result[n - 1][i] >> 8) ^ result[0][result[n - 1][i] & 0xFF];
        }
        return result;
    }();
    const auto byte = [&](std::size_t at) -> std::uint32_t { return static_cast<unsigned char>(bytes[at]); };
    std::uint32_t crc = ~before;
    std::size_t at = 0;
    for (; bytes.size() - at >= 8; at += 8) {
        crc ^= byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16) | (byte(at + 3) << 24);
        crc = tables[7][crc & 0xFF] ^ tables[6][(crc >> 8) & 0xFF] ^ tables[5][(crc >> 16) & 0xFF] ^
              tables[4][crc >> 24] ^ tables[3][byte(at + 4)] ^ tables[2][byte(at + 5)] ^
              tables[1][byte(at + 6)] ^ tables[0][byte(at + 7)];
    }
    for (; at < bytes.size(); ++at) crc = tables[0][(crc ^ byte(at)) & 0xFF] ^ (crc >> 8);
    return ~crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
/// \pre the CPU has SSE 4.2
__attribute__((target("sse4.2"))) inline std::uint32_t crc32c_by_instruction(std::string_view bytes,
                                                                             std::uint32_t before) {
    std::uint64_t crc = ~before;
    std::size_t at = 0;
    for (; bytes.size() - at >= 8; at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, 8);
        crc = __builtin_ia32_crc32di(crc, word);
    }
    auto rest = static_cast<std::uint32_t>(crc);
    for (; at < bytes.size(); ++at)
        rest = __builtin_ia32_crc32qi(rest, static_cast<unsigned char>(bytes[at]));
    return ~rest;
}
#endif

/// The CRC32C of bytes, by the CPU's own instruction where it has one.
/// \param before the checksum of the bytes before these
inline std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("sse4.2")) return crc32c_by_instruction(bytes, before);
#endif
    return reflected_crc<0x82F63B78>(bytes, before);
}

}  // namespace retort::detail
