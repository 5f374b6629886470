// SPDX-License-Identifier: BSL-1.0
/// \file
/// What transports carry: a header and a payload.
///
/// | bytes | content |
/// |---|---|
/// | 4 | `RTRT` |
/// | 2 | major version, little-endian: 1. A frame of another one is refused |
/// | 2 | minor version: 0. Others add keys to the header, and unknown keys are ignored |
/// | 4 | length of the header, at most 4096 |
/// | 4 | CRC32C of the header and the payload |
/// | | the header: a map in CBOR (RFC 8949) from texts to texts and unsigned integers |
/// | | the payload, up to the end |
///
/// Needs RETORT_WITH_JSON=1 (set by the CMake target where nlohmann-json is found). Independent of LibTorch.
#pragma once

#if !defined(RETORT_WITH_JSON) || !RETORT_WITH_JSON
#error "retort: transport/ needs nlohmann-json (RETORT_WITH_JSON=1)"
#endif

#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/crc.hpp>
#include <retort/transport/bytes.hpp>

namespace retort::transport {

/// Identifies a message: a retry has the same.
struct Id {
    std::array<std::uint64_t, 2> halves{};

    auto operator<=>(const Id&) const = default;
    bool empty() const { return halves[0] == 0 && halves[1] == 0; }
    /// 32 hexadecimal digits.
    std::string text() const {
        std::string result(32, '0');
        for (std::size_t i = 0; i < 32; ++i)
            result[i] = "0123456789abcdef"[halves[i / 16] >> (60 - 4 * (i % 16)) & 15U];
        return result;
    }
    /// From the system's source of random numbers.
    static Id random() {
        std::random_device device;
        const auto number = [&] { return std::uint64_t{device()} << 32 | device(); };
        return {{number(), number() | 1U}};
    }
};

/// The kinds that transports themselves use. All others are up to those who talk.
namespace kind {
inline constexpr std::string_view error = "ERROR";  ///< the payload says why: UTF-8, at most 1 KiB
inline constexpr std::string_view done = "DONE";    ///< an answer that says nothing more
inline constexpr std::string_view busy = "BUSY";    ///< the message is being worked on: wait, or ask again
inline constexpr std::string_view pull = "PULL";    ///< asks for chunks of a message
}  // namespace kind

/// What a frame says of itself. Empty texts and defaults are not sent.
struct Header {
    std::string kind{};    ///< what it is: "QUERY"; at most 32 bytes
    Id id{};               ///< of the message; an answer has that of what it answers
    std::string run{};     ///< what it belongs to, such as a community; at most 128 bytes
    std::string sender{};  ///< who sent it; at most 128 bytes
    std::string model{};   ///< hash of the network that the payload stems from; at most 128 bytes
    std::chrono::milliseconds within{0};  ///< how long the sender waits for an answer; 0: it does not
    std::uint64_t chunk = 0;              ///< which part of the message the payload is
    std::uint64_t chunks = 1;             ///< how many parts the message has
    std::uint64_t size = 0;  ///< of the payload of the whole message, in bytes; set by `Messenger`
    std::string inbox{};     ///< where the other parts can be had, if there are any; at most 128 bytes
    std::uint64_t held = 0;  ///< under which number

    bool operator==(const Header&) const = default;
};

struct Frame {
    Header header{};
    Bytes payload{};
};

/// The bytes before the header.
inline constexpr std::size_t frame_prefix = 16;
/// The largest header, in bytes.
inline constexpr std::size_t most_header = 4096;
inline constexpr std::uint16_t frame_version = 1;

namespace detail {

using retort::detail::ByteReader;
using retort::detail::concat;
using retort::detail::excerpt;

[[noreturn]] inline void refuse_frame(std::string_view expected, std::string_view found) {
    throw TransportError(TransportError::Reason::malformed,
                         concat("frame: expected ", expected, ", found ", found));
}

inline void check_field(std::string_view name, std::string_view value, std::size_t most) {
    if (value.size() > most) refuse_frame(concat(name, " of at most ", most, " bytes"), concat(value.size()));
}
/// What senders and receivers check alike.
inline void check_header(const Header& header) {
    if (header.kind.empty()) refuse_frame("a kind", "none");
    check_field("a kind", header.kind, 32);
    check_field("a run", header.run, 128);
    check_field("a sender", header.sender, 128);
    check_field("a model", header.model, 128);
    check_field("an inbox", header.inbox, 128);
    if (header.chunks == 0 || header.chunk >= header.chunks) {
        refuse_frame("a chunk below the number of chunks",
                     concat("chunk ", header.chunk, " of ", header.chunks));
    }
    if (header.within.count() < 0)
        refuse_frame("a time of at least 0 ms", concat(header.within.count(), " ms"));
}

/// Takes a header as it is parsed, without recursion into what it nests. The public members are those of
/// nlohmann::json_sax.
class HeaderReader {
    using Json = nlohmann::json;

  public:
    explicit HeaderReader(std::string_view bytes) {
        Json::sax_parse(bytes.begin(), bytes.end(), this, Json::input_format_t::cbor);
    }
    Header& header() { return header_; }

    bool null() { return other("null"); }
    bool boolean(bool) { return other("a truth value"); }
    bool number_integer(std::int64_t value) { return other(concat(value)); }
    bool number_float(double value, const std::string&) { return other(concat(value)); }
    bool binary(std::vector<std::uint8_t>&) { return other("binary data"); }
    bool number_unsigned(std::uint64_t value) {
        if (depth_ != 1) return other(concat(value));
        if (key_ == "within") {
            if (value > most_wait) refuse(concat("at most ", most_wait, " ms"), concat(value));
            header_.within = std::chrono::milliseconds(static_cast<std::int64_t>(value));
        } else if (std::uint64_t* const number = number_of(key_)) {
            *number = value;
        } else {
            return other(concat(value));
        }
        return true;
    }
    bool string(std::string& value) {
        if (depth_ != 1) return other("text");
        if (key_ == "id") {
            header_.id = id_of(value);
        } else if (std::string* const text = text_of(key_)) {
            *text = std::move(value);
        } else {
            return other("text");
        }
        return true;
    }
    bool start_object(std::size_t) {
        if (depth_ == 1 && known(key_)) other("a map");
        if (++depth_ > most_depth) refuse(concat("at most ", most_depth, " levels"), "more");
        return true;
    }
    bool end_object() {
        --depth_;
        return true;
    }
    bool start_array(std::size_t) {
        if (depth_ == 0 || (depth_ == 1 && known(key_))) other("a list");
        if (++depth_ > most_depth) refuse(concat("at most ", most_depth, " levels"), "more");
        return true;
    }
    bool end_array() {
        --depth_;
        return true;
    }
    bool key(std::string& name) {
        if (depth_ != 1) return true;
        if (!seen_.insert(name).second) refuse_frame(concat(excerpt(name, 40), " once"), "it twice");
        key_ = std::move(name);
        return true;
    }
    bool parse_error(std::size_t, const std::string&, const Json::exception& error) {
        refuse_frame("a header in CBOR", excerpt(error.what(), 200));
    }

  private:
    static constexpr std::size_t most_depth = 8;
    static constexpr std::uint64_t most_wait = std::uint64_t{1} << 40;

    static bool known(std::string_view key) {
        Header header;
        HeaderReader reader(header);
        return key == "id" || key == "within" || reader.number_of(key) != nullptr ||
               reader.text_of(key) != nullptr;
    }
    explicit HeaderReader(const Header& header) : header_(header) {}

    std::uint64_t* number_of(std::string_view key) {
        if (key == "chunk") return &header_.chunk;
        if (key == "chunks") return &header_.chunks;
        if (key == "size") return &header_.size;
        if (key == "held") return &header_.held;
        return nullptr;
    }
    std::string* text_of(std::string_view key) {
        if (key == "kind") return &header_.kind;
        if (key == "run") return &header_.run;
        if (key == "sender") return &header_.sender;
        if (key == "model") return &header_.model;
        if (key == "inbox") return &header_.inbox;
        return nullptr;
    }
    Id id_of(std::string_view text) const {
        Id result;
        if (text.size() != 32) refuse("32 hexadecimal digits", excerpt(text, 40));
        for (std::size_t i = 0; i < 32; ++i) {
            const std::size_t digit = std::string_view("0123456789abcdef").find(text[i]);
            if (digit == std::string_view::npos) refuse("32 hexadecimal digits", excerpt(text, 40));
            result.halves[i / 16] = result.halves[i / 16] << 4 | digit;
        }
        return result;
    }
    /// A value that is not of the kind that its key has; that of an unknown key is ignored.
    bool other(std::string_view found) const {
        if (depth_ == 0) refuse_frame("a map as the header", found);
        if (depth_ == 1 && known(key_)) {
            const bool text =
                key_ != "within" && key_ != "chunk" && key_ != "chunks" && key_ != "size" && key_ != "held";
            refuse(text ? "text" : "a number of at least 0", found);
        }
        return true;
    }
    [[noreturn]] void refuse(std::string_view expected, std::string_view found) const {
        refuse_frame(concat(excerpt(key_, 40), " to be ", expected), found);
    }

    Header header_{};
    std::string key_{};
    std::set<std::string> seen_{};
    std::size_t depth_ = 0;
};

/// Prefix and header of a frame, which its payload follows.
inline std::string encode_head(const Frame& frame) {
    const Header& header = frame.header;
    check_header(header);
    nlohmann::json map = nlohmann::json::object();
    const auto text = [&](const char* key, const std::string& value) {
        if (!value.empty()) map[key] = value;
    };
    const auto number = [&](const char* key, std::uint64_t value, std::uint64_t usual) {
        if (value != usual) map[key] = value;
    };
    text("kind", header.kind);
    if (!header.id.empty()) map["id"] = header.id.text();
    text("run", header.run);
    text("sender", header.sender);
    text("model", header.model);
    number("within", static_cast<std::uint64_t>(header.within.count()), 0);
    number("chunk", header.chunk, 0);
    number("chunks", header.chunks, 1);
    number("size", header.size, 0);
    text("inbox", header.inbox);
    number("held", header.held, 0);
    std::string cbor;
    nlohmann::json::to_cbor(map, cbor);
    std::string result = "RTRT";
    retort::detail::append_number(result, frame_version);
    retort::detail::append_number(result, std::uint16_t{0});
    retort::detail::append_number(result, static_cast<std::uint32_t>(cbor.size()));
    retort::detail::append_number(result,
                                  retort::detail::crc32c(frame.payload.view(), retort::detail::crc32c(cbor)));
    return result + cbor;
}

/// The length of the header that a prefix declares.
inline std::size_t header_length(std::string_view bytes, std::uint32_t* checksum = nullptr) {
    try {
        ByteReader reader(bytes);
        if (const auto magic = reader.take(4, "a frame"); magic != "RTRT")
            refuse_frame("RTRT at its start", concat('"', excerpt(magic), '"'));
        const auto major = reader.number<std::uint16_t>("a version");
        if (major != frame_version) refuse_frame(concat("version ", frame_version), concat(major));
        reader.take(2, "a minor version");
        const auto length = reader.number<std::uint32_t>("the header's length");
        const auto found = reader.number<std::uint32_t>("a checksum");
        if (length > most_header) {
            refuse_frame(concat("a header of at most ", most_header, " bytes"), concat(length));
        }
        reader.take(length, "a header");
        if (checksum != nullptr) *checksum = found;
        return length;
    } catch (const retort::detail::MalformedBytes& error) {
        throw TransportError(TransportError::Reason::malformed, concat("frame: ", error.what()));
    }
}

/// \param head prefix and header
inline Frame decode_parts(std::string_view head, Bytes payload) {
    std::uint32_t checksum = 0;
    const std::string_view cbor = head.substr(frame_prefix, header_length(head, &checksum));
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION  // or no changed frame would come further than this
    if (retort::detail::crc32c(payload.view(), retort::detail::crc32c(cbor)) != checksum)
        refuse_frame("a matching checksum", "a mismatch");
#endif
    Frame result{std::move(HeaderReader(cbor).header()), std::move(payload)};
    check_header(result.header);
    return result;
}

}  // namespace detail

/// The bytes of a frame.
/// \throws TransportError if its header is out of bounds
inline std::string encode(const Frame& frame) {
    std::string result = detail::encode_head(frame);
    result.append(frame.payload.view());
    return result;
}

/// The frame that bytes hold; its payload is a part of them.
/// \throws TransportError if they are not a frame
inline Frame decode(const Bytes& bytes) {
    const std::size_t head = frame_prefix + detail::header_length(bytes.view());
    return detail::decode_parts(bytes.view().substr(0, head), bytes.slice(head));
}

/// An answer that says why a request is declined.
inline Frame error_frame(const Header& about, std::string_view reason) {
    Frame result;
    result.header.kind = kind::error;
    result.header.id = about.id;
    result.header.run = about.run;
    result.payload = retort::detail::excerpt(reason, 1021);
    return result;
}
/// What an answer of the kind `ERROR` says, for a message: one line of at most 1 KiB.
inline std::string error_text(const Frame& frame) {
    return retort::detail::excerpt(frame.payload.view(), 1021);
}

}  // namespace retort::transport
