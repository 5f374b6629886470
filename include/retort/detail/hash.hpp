// SPDX-License-Identifier: BSL-1.0
/// \file
/// A hash that detects damage and identifies states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <retort/detail/split_mix.hpp>

namespace retort::detail {

/// Hashes bytes, 64 bits at a time: every word is mixed into the state by a bijection (`split_mix`), so that a change
/// within one word always changes the result; other changes are missed with probability 2^-64. Not cryptographic.
class Hash {
  public:
    void add(const void* data, std::size_t size) {
        const auto* bytes = static_cast<const unsigned char*>(data);
        std::size_t done = 0;
        for (; done + 8 <= size; done += 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, bytes + done, 8);
            mix(word);
        }
        std::uint64_t rest = 0;
        if (done < size) std::memcpy(&rest, bytes + done, size - done);
        mix(rest);
        mix(size);
    }
    void add(std::string_view text) { add(text.data(), text.size()); }
    std::uint64_t value() const { return state_; }
    /// As 16 hexadecimal digits.
    std::string text() const {
        std::string result(16, '0');
        std::uint64_t rest = state_;
        for (std::size_t i = 16; i-- > 0; rest >>= 4) result[i] = "0123456789abcdef"[rest & 15U];
        return result;
    }

  private:
    void mix(std::uint64_t word) { state_ = split_mix(state_ ^ word); }
    std::uint64_t state_ = 0;
};

}  // namespace retort::detail
