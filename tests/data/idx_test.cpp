// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <sys/stat.h>

#include <set>

#include <retort/data/idx.hpp>

#include "files.hpp"

namespace idx_test {

using retort::DataError;
using retort::data::read_idx;
using retort_test::big_endian;
using retort_test::bytes;
using retort_test::idx;
using retort_test::same;
using retort_test::TemporaryDirectory;
using retort_test::write_file;

namespace {

std::string double_bits(double value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return big_endian(static_cast<std::uint32_t>(bits >> 32)) + big_endian(static_cast<std::uint32_t>(bits));
}
std::string float_bits(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return big_endian(bits);
}

}  // namespace

TEST_CASE("IDX files of every type are read, big-endian") {
    const TemporaryDirectory directory;
    const auto path = directory / "data";
    const auto read = [&](const std::string& text) {
        write_file(path, text);
        return read_idx(path);
    };
    CHECK(same(read(idx(0x08, {2, 3}, bytes({0, 1, 2, 127, 128, 255}))),
               torch::tensor({0, 1, 2, 127, 128, 255}, torch::kUInt8).view({2, 3})));
    CHECK(same(read(idx(0x09, {3}, bytes({0, 127, 255}))), torch::tensor({0, 127, -1}, torch::kInt8)));
    CHECK(same(read(idx(0x0b, {2}, bytes({1, 2, 0xff, 0xfe}))), torch::tensor({258, -2}, torch::kInt16)));
    CHECK(same(read(idx(0x0c, {2}, big_endian(0x01020304) + big_endian(0xffffffff))),
               torch::tensor({0x01020304, -1}, torch::kInt32)));
    CHECK(same(read(idx(0x0d, {2}, float_bits(1.5F) + float_bits(-0.1F))), torch::tensor({1.5F, -0.1F})));
    CHECK(same(read(idx(0x0e, {1, 2}, double_bits(3.25) + double_bits(-1e300))),
               torch::tensor({{3.25, -1e300}}, torch::kFloat64)));
}

TEST_CASE("IDX files of any rank are read, and empty ones") {
    const TemporaryDirectory directory;
    const auto path = directory / "data";
    write_file(path, idx(0x08, {}, bytes({7})));
    CHECK(same(read_idx(path), torch::tensor(7, torch::kUInt8)));
    write_file(path, idx(0x08, {1, 2, 1, 2, 1}, bytes({1, 2, 3, 4})));
    CHECK(same(read_idx(path), torch::tensor({1, 2, 3, 4}, torch::kUInt8).view({1, 2, 1, 2, 1})));
    write_file(path, idx(0x0e, {0, 28, 28}, ""));
    CHECK(same(read_idx(path), torch::empty({0, 28, 28}, torch::kFloat64)));
    write_file(path, idx(0x08, std::vector<std::uint32_t>(64, 1), bytes({9})));
    CHECK(read_idx(path).dim() == 64);
}

TEST_CASE("What is no readable IDX file is refused with file, offset, expected and found") {
    const TemporaryDirectory directory;
    const auto path = directory / "data";
    const auto name = path.string();

    RETORT_CHECK_ERROR(DataError, read_idx(path), name, "cannot read: No such file");
    RETORT_CHECK_ERROR(DataError, read_idx(directory.path()), directory.path().string(), "a directory");
    REQUIRE(::mkfifo(name.c_str(), 0600) == 0);
    RETORT_CHECK_ERROR(DataError, read_idx(path), name, "a pipe");
    std::filesystem::remove(path);
    RETORT_CHECK_ERROR(DataError, read_idx("/dev/zero"), "/dev/zero", "device");

    struct Case {
        std::string text;
        std::vector<std::string> parts;
    };
    const std::vector<Case> cases{
        {"", {"at offset 0: expected data, found an empty file"}},
        {bytes({0, 0, 8}),
         {"at offset 0", "expected the 4 bytes that begin an IDX file", "ends after 3 more bytes"}},
        {"PK\x03\x04 and more", {"at offset 0", "expected 00 00", "found 50 4b"}},
        {bytes({0, 1, 8, 1, 0, 0, 0, 0}), {"at offset 0", "found 00 01"}},
        {bytes({0, 0, 0x0a, 1, 0, 0, 0, 0}), {"at offset 2", "an IDX type", "found 0a"}},
        {bytes({0, 0, 8, 65}), {"at offset 3", "at most 64 dimensions", "found 65"}},
        {bytes({0, 0, 8, 3, 0, 0, 0, 1, 0, 0}),
         {"at offset 4", "the sizes of 3 dimensions", "ends after 6 more bytes"}},
        {idx(8, {2, 3}, "12345"),
         {"at offset 12", "expected 6 bytes of data (2 x 3 of uint8)", "after 5 more bytes"}},
        {idx(8, {2, 3}, ""), {"at offset 12", "expected 6 bytes", "after 0 more bytes"}},
        {idx(8, {2, 3}, "1234567"), {"at offset 18", "expected the end of the data", "found 1 more bytes"}},
        {idx(8, {0, 3}, "1"), {"at offset 12", "expected the end of the data"}},
        // 16 TiB from a header of 16 bytes; and numbers of bytes that no 64 bits hold.
        {idx(0x0e, {65536, 65536, 512}, "12345678"),
         {"at offset 16", "17592186044416 bytes", "after 8 more bytes"}},
        {idx(0x0e, {0xffffffff, 0xffffffff, 0xffffffff}, "1"), {"at offset 4", "that a file can fill"}},
        {idx(0x0e, {0, 0xffffffff, 0xffffffff, 0xffffffff}, ""), {"at offset 4", "that a file can fill"}},
    };
    for (const auto& each : cases) {
        write_file(path, each.text);
        auto parts = each.parts;
        parts.push_back(name);
        INFO(each.parts.front());
        CHECK(retort_test::complaint<DataError>([&] { read_idx(path); }, parts) == "");
    }
}

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB

TEST_CASE("gzip is told by the content of a file, not by its name") {
    const TemporaryDirectory directory;
    const auto plain = idx(8, {2, 2}, bytes({1, 2, 3, 4}));
    const auto expected = torch::tensor({1, 2, 3, 4}, torch::kUInt8).view({2, 2});
    write_file(directory / "packed", retort_test::gzip(plain));
    CHECK(same(read_idx(directory / "packed"), expected));
    write_file(directory / "plain.gz", plain);
    CHECK(same(read_idx(directory / "plain.gz"), expected));
}

TEST_CASE("gzip files larger than every buffer, and of several members, are read") {
    const TemporaryDirectory directory;
    const auto path = directory / "data";
    // Noise does not shrink, so that the packed file is larger than the reader's buffer too.
    torch::manual_seed(1);
    const auto noise = torch::randint(256, {3 * 1024 * 1024 + 17}, torch::kUInt8);
    const std::string data(static_cast<const char*>(noise.data_ptr()),
                           static_cast<std::size_t>(noise.numel()));
    const auto text = idx(8, {static_cast<std::uint32_t>(noise.numel())}, data);
    write_file(path, retort_test::gzip(text));
    CHECK(same(read_idx(path), noise));
    write_file(path, retort_test::gzip(text.substr(0, 3)) + retort_test::gzip("") +
                         retort_test::gzip(text.substr(3, 100000)) + retort_test::gzip(text.substr(100003)));
    CHECK(same(read_idx(path), noise));
}

TEST_CASE("A gzip member may begin anywhere in the reader's buffer") {
    const TemporaryDirectory directory;
    torch::manual_seed(2);
    const auto noise = torch::randint(256, {70000}, torch::kUInt8);
    const std::string data(static_cast<const char*>(noise.data_ptr()),
                           static_cast<std::size_t>(noise.numel()));
    // The buffer takes 65536 bytes. Noise does not shrink, so that one byte more of it is one packed byte
    // more.
    std::set<std::size_t> begins;
    for (std::size_t length = 65470; length < 65540; ++length) {
        const auto size = static_cast<std::uint32_t>(length + 10);
        const auto before = retort_test::gzip(idx(8, {size}, data.substr(0, length)));
        begins.insert(before.size());
        write_file(directory / "data", before + retort_test::gzip(data.substr(length, 10)));
        CHECK(same(read_idx(directory / "data"), noise.narrow(0, 0, size)));
    }
    for (std::size_t begin = 65533; begin < 65539; ++begin) CHECK(begins.contains(begin));
}

TEST_CASE("Damaged gzip files are refused") {
    const TemporaryDirectory directory;
    const auto path = directory / "data.gz";
    const auto name = path.string();
    const auto plain = idx(8, {1000}, std::string(1000, 'x'));
    const auto packed = retort_test::gzip(plain);
    const auto check = [&](const std::string& text, std::vector<std::string> parts) {
        write_file(path, text);
        parts.push_back(name);
        INFO(parts.front());
        CHECK(retort_test::complaint<DataError>([&] { read_idx(path); }, parts) == "");
    };
    // Cut off anywhere: in the gzip header, in the data, in the checksum.
    for (std::size_t length = 2; length < packed.size(); ++length) {
        check(packed.substr(0, length), {"at offset " + std::to_string(length),
                                         "expected the rest of a gzip stream", "the end of the file"});
    }
    auto damaged = packed;
    damaged[packed.size() - 6] = static_cast<char>(damaged[packed.size() - 6] ^ 1);
    check(damaged, {"expected a valid gzip stream", "incorrect data check"});
    damaged = packed;
    damaged[packed.size() - 1] = static_cast<char>(damaged[packed.size() - 1] ^ 1);
    check(damaged, {"expected a valid gzip stream", "incorrect length check"});
    damaged = packed;
    damaged[2] = 9;
    check(damaged, {"expected a valid gzip stream", "unknown compression method"});
    damaged = packed;
    damaged[10] = static_cast<char>(0xff);
    check(damaged, {"expected a valid gzip stream", "invalid"});

    const auto end = std::to_string(packed.size());
    check(packed + "x",
          {"at offset " + end, "expected the end of the file after the gzip stream", "1 more bytes", "78"});
    check(packed + "garbage", {"at offset " + end, "7 more bytes, beginning with 67 61"});
    check(packed + bytes({0x1f, 0x8b}), {"expected the rest of a gzip stream"});

    // Sound gzip, but the IDX file in it is not.
    check(retort_test::gzip(plain.substr(0, 500)),
          {"at offset 8", "expected 1000 bytes of data", "data that end after 492 more bytes"});
    check(retort_test::gzip(plain + "x"), {"at offset 1008", "expected the end of the data", "more bytes"});
    check(retort_test::gzip("no IDX"), {"at offset 0", "expected 00 00", "6e 6f"});
    check(retort_test::gzip(""), {"at offset 0", "the 4 bytes that begin"});
    // A header that promises a terabyte takes no more memory than the file fills.
    check(retort_test::gzip(idx(8, {1u << 20, 1u << 20}, std::string(5000, 'x'))),
          {"at offset 12", "1099511627776 bytes of data", "after 5000 more bytes"});
}

#endif

}  // namespace idx_test
