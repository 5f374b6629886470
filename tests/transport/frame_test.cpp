// SPDX-License-Identifier: BSL-1.0
/// \file
/// Frames, as bytes and back.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/transport/frame.hpp>

namespace frame_test {

using namespace retort_test;
using namespace retort::transport;
using retort::TransportError;
using std::chrono::milliseconds;

namespace {

Frame full() {
    Frame result;
    result.header = {.kind = "OFFER",
                     .id = {{0x0123456789abcdefU, 0xfedcba9876543210U}},
                     .run = "lesson",
                     .sender = "node-1",
                     .model = "00ff",
                     .within = milliseconds(1500),
                     .chunk = 2,
                     .chunks = 5,
                     .size = std::uint64_t{1} << 60,
                     .inbox = "retort.inbox.node-1",
                     .held = 7};
    result.payload = std::string("a payload\0with a zero", 21);
    return result;
}
std::string words(const std::string& bytes) {
    return words_of<TransportError>([&] { decode(bytes); });
}
/// A frame with this header, and the checksum that fits.
std::string with_header(const std::string& cbor, std::uint16_t version = frame_version) {
    std::string result = "RTRT";
    retort::detail::append_number(result, version);
    retort::detail::append_number(result, std::uint16_t{0});
    retort::detail::append_number(result, static_cast<std::uint32_t>(cbor.size()));
    retort::detail::append_number(result, retort::detail::crc32c(cbor));
    return result + cbor;
}
std::string with_header(const nlohmann::json& header) {
    std::string cbor;
    nlohmann::json::to_cbor(header, cbor);
    return with_header(cbor);
}

}  // namespace

TEST_CASE("a frame is read as it was written") {
    const Frame frame = full();
    const Frame read = decode(encode(frame));
    CHECK(read.header == frame.header);
    CHECK(read.payload.view() == frame.payload.view());
    CHECK(read.header.id.text() == "0123456789abcdeffedcba9876543210");
    // Defaults take no bytes.
    const Frame plain{{.kind = "DONE"}, {}};
    CHECK(encode(plain).size() < 32);
    CHECK(decode(encode(plain)).header == plain.header);
}

TEST_CASE("a frame that is cut or changed anywhere is refused") {
    const std::string bytes = encode(full());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        CHECK_THROWS_AS(decode(bytes.substr(0, i)), TransportError);
        std::string changed = bytes;
        changed[i] = static_cast<char>(changed[i] ^ 0x10);
        if (i < 6 || i > 7) CHECK_THROWS_AS(decode(changed), TransportError);  // not the minor version
    }
    CHECK_THROWS_AS(decode(bytes + "x"), TransportError);
    CHECK(words("RTRX" + bytes.substr(4)) == "frame: expected RTRT at its start, found \"RTRX\"");
    CHECK(words(with_header("\xa0", 2)) == "frame: expected version 1, found 2");
    CHECK(holds(words(bytes.substr(0, 30)), "bytes of a header, found 14 until the end"));
}

TEST_CASE("declared sizes allocate nothing") {
    std::string bytes = encode(full());
    const std::uint32_t huge = 0xFFFFFFFFU;
    std::memcpy(bytes.data() + 8, &huge, 4);
    CHECK(words(bytes) == "frame: expected a header of at most 4096 bytes, found 4294967295");
    // A text of 2^60 bytes, a list and a map of as many elements, in CBOR.
    for (const char* const start : {"\x7b", "\x9b", "\xbb"}) {
        const std::string length("\x10\0\0\0\0\0\0\0", 8);
        CHECK_THROWS_AS(decode(with_header(std::string("\xa1\x64kind") + start + length)), TransportError);
        CHECK_THROWS_AS(decode(with_header(start + length)), TransportError);
    }
    CHECK_THROWS_AS(decode(with_header(std::string(4000, '\x81'))), TransportError);
    CHECK_THROWS_AS(decode(with_header("\xa1\x61x" + std::string(4000, '\x81'))), TransportError);
}

TEST_CASE("headers of other versions and of liars") {
    using Json = nlohmann::json;
    // Unknown keys are ignored, whatever they hold.
    const Json later{
        {"kind", "DONE"}, {"color", {1, 2, {{"a", nullptr}, {"kind", 7}}}}, {"weight", 0.5}, {"sign", -1}};
    CHECK(decode(with_header(later)).header == Header{.kind = "DONE"});
    const auto refused = [&](const Json& header) { return words(with_header(header)); };
    CHECK(refused({{"run", "a"}}) == "frame: expected a kind, found none");
    CHECK(refused({{"kind", 3}}) == "frame: expected kind to be text, found 3");
    CHECK(refused({{"kind", "A"}, {"chunk", "B"}}) ==
          "frame: expected chunk to be a number of at least 0, found text");
    CHECK(refused({{"kind", "A"}, {"chunk", -1}}) ==
          "frame: expected chunk to be a number of at least 0, found -1");
    CHECK(refused({{"kind", {1}}}) == "frame: expected kind to be text, found a list");
    CHECK(refused({{"kind", "A"}, {"id", "12"}}) ==
          "frame: expected id to be 32 hexadecimal digits, found 12");
    CHECK(refused({{"kind", "A"}, {"chunk", 3}, {"chunks", 3}}) ==
          "frame: expected a chunk below the number of chunks, found chunk 3 of 3");
    CHECK(refused({{"kind", std::string(33, 'a')}}) ==
          "frame: expected a kind of at most 32 bytes, found 33");
    CHECK(refused({{"kind", "A"}, {"within", std::uint64_t{1} << 50}}) ==
          "frame: expected within to be at most 1099511627776 ms, found 1125899906842624");
    CHECK(refused(Json::array({1})) == "frame: expected a map as the header, found a list");
    CHECK(refused("text") == "frame: expected a map as the header, found text");
    CHECK(words(with_header(std::string("\xa2\x64kind\x61"
                                        "a\x64kind\x61"
                                        "b"))) == "frame: expected kind once, found it twice");
    CHECK_THROWS_AS(encode({}), TransportError);
}

TEST_CASE("an error says why in one line") {
    const Frame error =
        error_frame({.kind = "QUERY", .id = {{3, 4}}}, "two\nlines " + std::string(2000, 'x'));
    CHECK(error.header.kind == "ERROR");
    CHECK(error.header.id == Id{{3, 4}});
    CHECK(error.payload.size() == 1024);
    CHECK(holds(error_text(error), "two?lines xxx"));
    CHECK_FALSE(Id::random() == Id::random());
}

}  // namespace frame_test
