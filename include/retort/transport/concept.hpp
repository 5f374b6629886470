// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a transport: frames between those who ask and those who serve.
///
/// | expression | meaning |
/// |---|---|
/// | `transport.serve(subject, handler)` | calls `handler` for each frame that is sent to `subject`, until the returned `Subscription` is destroyed, which waits for a call that is running |
/// | `transport.ask(subject, frame, within, sink)` | sends a frame to all who serve `subject`, and passes the answers to `sink` as they come: until it returns false, or the time is over; returns which |
/// | `transport.publish(subject, frame)` | sends a frame to all who serve `subject`, without answers |
/// | `transport.pause(time)` | lets time pass: that of the transport |
/// | `transport.limits()` | the largest frame, in bytes |
/// | `transport.traffic()` | what this transport has sent and received |
///
/// Subjects are words of letters, digits, `-` and `_` with dots between them. A transport is a handle: copies are the
/// same. All members may be called on several threads at once. The calls block, none longer than it is told to.
///
/// A handler runs on a thread of the transport (of `Local`: on one that asks), calls of one subscription one after the
/// other as a rule, and must not touch a network that is training. It returns its answers: for a frame that was
/// asked at least one, as nobody shall wait in vain; for a published one they are dropped. An exception that it throws is an
/// answer of the kind `ERROR`, and so is an answer above the limit. A sink is called on the thread that asks, and may ask
/// itself.
///
/// Frames may be lost, come twice or late, or in another order: `Messenger`, which sends messages of any size over
/// any transport, asks again, and answers what it is asked twice from memory.
///
/// A minimal example:
///
///     retort::transport::LocalNetwork network;
///     retort::transport::Local a = network.node("a"), b = network.node("b");
///     const auto served = b.serve("greetings", [](const retort::transport::Frame& asked) {
///         return std::vector{retort::transport::Frame{{.kind = "HELLO", .id = asked.header.id}, {}}};
///     });
///     a.ask("greetings", {{.kind = "HELLO"}, {}}, 1s, [](const retort::transport::Frame&) { return false; });
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/transport/frame.hpp>

namespace retort::transport {

using std::chrono::milliseconds;

/// Answers a frame.
using Handler = std::function<std::vector<Frame>(const Frame&)>;
/// Takes an answer. \returns whether to wait for more
using Sink = std::function<bool(const Frame&)>;

/// What ended an `ask`.
enum class Ended {
    enough,    ///< the sink
    deadline,  ///< the time
    nobody,    ///< nobody serves the subject
};

/// What a transport carries.
struct Limits {
    std::size_t frame = 0;  ///< the largest frame, in bytes
};

/// What was sent and received, by frames and bytes. A frame to several receivers is sent once.
struct Traffic {
    std::int64_t frames_sent = 0;
    std::int64_t bytes_sent = 0;
    std::int64_t frames_received = 0;
    std::int64_t bytes_received = 0;

    bool operator==(const Traffic&) const = default;
    Traffic operator-(const Traffic& before) const {
        return {frames_sent - before.frames_sent, bytes_sent - before.bytes_sent,
                frames_received - before.frames_received, bytes_received - before.bytes_received};
    }
};

/// What a handler is registered with: destroying it ends the service.
class [[nodiscard]] Subscription {
  public:
    Subscription() = default;
    explicit Subscription(std::shared_ptr<void> held) : held_(std::move(held)) {}
    Subscription(Subscription&&) noexcept = default;
    Subscription& operator=(Subscription&&) noexcept = default;
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;
    ~Subscription() = default;

    bool active() const { return held_ != nullptr; }
    void end() { held_.reset(); }

  private:
    std::shared_ptr<void> held_{};
};

template <class T>
concept Transport =
    std::copyable<T> && requires(const T& transport, std::string_view subject, const Frame& frame,
                                 const Handler& handler, const Sink& sink, milliseconds time) {
        { transport.serve(subject, handler) } -> std::same_as<Subscription>;
        { transport.ask(subject, frame, time, sink) } -> std::same_as<Ended>;
        { transport.publish(subject, frame) } -> std::same_as<void>;
        { transport.pause(time) } -> std::same_as<void>;
        { transport.limits() } -> std::same_as<Limits>;
        { transport.traffic() } -> std::same_as<Traffic>;
    };

namespace detail {

inline bool is_token(std::string_view word) {
    for (const char each : word) {
        const bool letter = (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z');
        if (!letter && !(each >= '0' && each <= '9') && each != '-' && each != '_') return false;
    }
    return !word.empty();
}
inline bool is_subject(std::string_view subject) {
    if (subject.size() > 128) return false;
    while (true) {
        const std::size_t dot = subject.find('.');
        if (!is_token(subject.substr(0, dot))) return false;
        if (dot == std::string_view::npos) return true;
        subject.remove_prefix(dot + 1);
    }
}
/// \throws ConfigError
inline void check_subject(std::string_view subject) {
    if (!is_subject(subject)) {
        throw ConfigError(
            concat("transport: expected a subject of words of letters, digits, - and _ with dots ",
                   "between them (at most 128 bytes), found \"", excerpt(subject), '"'));
    }
}

inline void check_frame_size(std::string_view subject, std::size_t size, const Limits& limits) {
    if (size > limits.frame) {
        throw TransportError(TransportError::Reason::too_large,
                             concat(subject, ": expected a frame of at most ", limits.frame, " bytes, found ",
                                    size, "; Messenger sends larger messages in chunks"));
    }
}

/// The handler's answers, or its exception as one of the kind `ERROR`. At least one.
inline std::vector<Frame> answers_of(const Handler& handler, const Frame& frame) {
    std::vector<Frame> result;
    try {
        result = handler(frame);
    } catch (const std::exception& error) {
        return {error_frame(frame.header, error.what())};
    }
    if (result.empty()) result.push_back({{.kind = std::string(kind::done), .id = frame.header.id}, {}});
    return result;
}

}  // namespace detail
}  // namespace retort::transport
