// SPDX-License-Identifier: BSL-1.0
/// \file
/// Checksums.
#include <retort_test.hpp>

#include <retort/detail/crc.hpp>

namespace crc_test {

using retort::detail::crc32c;
using retort::detail::reflected_crc;

TEST_CASE("checksums of the catalogs, by table and by instruction") {
    // The check values of the catalogs: of the digits 1 to 9.
    CHECK(reflected_crc<0xEDB88320>("123456789") == 0xCBF43926U);
    CHECK(reflected_crc<0x82F63B78>("123456789") == 0xE3069283U);
    CHECK(crc32c("123456789") == 0xE3069283U);
    CHECK(crc32c("") == 0);
    std::string bytes;
    for (int i = 0; i < 67; ++i) {
        CHECK(crc32c(bytes) == reflected_crc<0x82F63B78>(bytes));
        bytes.push_back(static_cast<char>(i * 37 + 200));
    }
}

TEST_CASE("a checksum goes on from that of the bytes before") {
    const std::string bytes = "what is divided anywhere has the same checksum";
    for (std::size_t i = 0; i <= bytes.size(); ++i) {
        const std::string_view first = std::string_view(bytes).substr(0, i),
                               rest = std::string_view(bytes).substr(i);
        CHECK(crc32c(rest, crc32c(first)) == crc32c(bytes));
        CHECK(reflected_crc<0xEDB88320>(rest, reflected_crc<0xEDB88320>(first)) ==
              reflected_crc<0xEDB88320>(bytes));
    }
}

}  // namespace crc_test
