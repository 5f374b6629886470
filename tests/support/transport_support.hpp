// SPDX-License-Identifier: BSL-1.0
/// \file
/// What tests of transports share: contents of messages, and the reasons of errors.
#pragma once

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>

#include <retort/core/error.hpp>

namespace retort_test {

/// Bytes that differ from position to position.
inline std::string pattern(std::size_t size) {
    std::string result(size, '\0');
    for (std::size_t i = 0; i < size; ++i) result[i] = static_cast<char>(i * 131 + i / 251);
    return result;
}

/// The reason of the TransportError that `what` throws.
inline retort::TransportError::Reason reason_of(const std::function<void()>& what) {
    try {
        what();
    } catch (const retort::TransportError& error) {
        return error.reason;
    }
    throw std::logic_error("expected an error");
}

}  // namespace retort_test
