// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by the tests of the readers: bytes of data files, made manually.
#pragma once

#include <retort_test.hpp>

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
#include <zlib.h>
#endif

#include <retort/core/error.hpp>

namespace retort_test {

/// Bytes from numbers.
inline std::string bytes(std::initializer_list<int> values) {
    std::string text;
    for (const int value : values) text.push_back(static_cast<char>(value));
    return text;
}

/// Four bytes, the highest first.
inline std::string big_endian(std::uint32_t value) {
    std::string text;
    for (int shift = 24; shift >= 0; shift -= 8) text.push_back(static_cast<char>(value >> shift & 0xff));
    return text;
}

/// An IDX file.
inline std::string idx(int type, const std::vector<std::uint32_t>& sizes, const std::string& data) {
    auto text = bytes({0, 0, type, static_cast<int>(sizes.size())});
    for (const auto size : sizes) text += big_endian(size);
    return text + data;
}

#if defined(RETORT_WITH_ZLIB) && RETORT_WITH_ZLIB
/// `text` as one member of a gzip file.
inline std::string gzip(const std::string& text) {
    z_stream stream{};
    if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        throw std::runtime_error("zlib");
    std::string packed(deflateBound(&stream, text.size()) + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("zlib");
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}
#endif

/// The reason why `action` does not throw an `Exception` whose message has all of `parts`; empty if it does.
template <class Exception, class Action>
std::string complaint(Action&& action, const std::vector<std::string>& parts) {
    try {
        action();
    } catch (const std::exception& error) {
        const std::string message = error.what();
        if (dynamic_cast<const Exception*>(&error) == nullptr) return "another exception: " + message;
        for (const auto& part : parts) {
            if (message.find(part) == std::string::npos)
                return "\"" + part + "\" is not in \"" + message + "\"";
        }
        return "";
    }
    return "no exception";
}

}  // namespace retort_test

/// Checks that an expression throws, and that the message contains all of the given texts.
#define RETORT_CHECK_ERROR(exception, expression, ...) \
    CHECK(retort_test::complaint<exception>([&] { (void)(expression); }, {__VA_ARGS__}) == std::string())
