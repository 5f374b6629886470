// SPDX-License-Identifier: BSL-1.0
/// \file
/// The errors that retort throws. Every message says what was expected, what was found, and where.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace retort {

/// Base of every error that retort throws.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A policy, an option or a composition that cannot work.
struct ConfigError : Error {
    using Error::Error;
};

/// Tensors whose shapes, class counts, types or devices do not fit together.
struct ShapeError : Error {
    using Error::Error;
};

/// Training data that are malformed, truncated, or not of the declared kind.
struct DataError : Error {
    using Error::Error;
};

/// An output (history, plot, weights) that cannot be written.
struct OutputError : Error {
    using Error::Error;
};

/// A checkpoint that is damaged or belongs to another composition.
struct CheckpointError : Error {
    using Error::Error;
};

/// A loss or gradient that is no longer finite.
struct NonFiniteError : Error {
    using Error::Error;
};

/// A message that could not be delivered, an answer that did not come, or one that cannot be used.
struct TransportError : Error {
    enum class Reason {
        timed_out,     ///< no answer before the deadline
        nobody,        ///< nobody serves the subject
        too_large,     ///< larger than the limit of the transport, the sender or the receiver
        refused,       ///< not permitted, or declined by the other side with an error
        malformed,     ///< bytes that are not a frame, or a frame that contradicts itself
        unusable,      ///< an answer with wrong contents: other shapes, not finite, of another model
        disconnected,  ///< no connection, or one that was closed
    };
    TransportError(Reason why, const std::string& text) : Error(text), reason(why) {}
    Reason reason;
};

/// What LibTorch refused within a step, after the network or term that asked for it, epoch and step.
struct StepError : Error {
    using Error::Error;
};

namespace detail {

/// The parts, formatted and concatenated.
template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
    std::ostringstream stream;
    (stream << ... << parts);
    return std::move(stream).str();
}

}  // namespace detail
}  // namespace retort
