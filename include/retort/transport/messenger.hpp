// SPDX-License-Identifier: BSL-1.0
/// \file
/// Messages of any size over any transport.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/split_mix.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/frame.hpp>
#include <retort/transport/message.hpp>

namespace retort::transport {

/// Options of a `Messenger`.
struct MessengerOptions {
    /// Who this is: a token of a subject, at most 64 bytes, that nobody else on the network has. Empty: a random one.
    std::string name{};
    std::string run{};  ///< what the messages belong to; those of another run are refused
    std::string inbox =
        "retort.inbox";  ///< chunks are served at this subject, with a dot and the name after it
    std::size_t chunk =
        1U
        << 20U;  ///< the payload of a frame at most, in bytes; less where the transport's frames are smaller
    std::size_t window = 8;           ///< chunks that are under way and have not been received, at most 64
    std::size_t largest = 1U << 30U;  ///< a larger message is neither sent nor received, in bytes
    /// Bytes of answers and published messages that are kept for those who ask again, and how many of them. The last one is
    /// always kept.
    std::size_t memory = 256U << 20U;
    std::size_t answers = 256;
    std::uint64_t seed = 0;  ///< of the ids of messages; 0: a random one
};

/// How long to ask, and how often.
struct RequestOptions {
    milliseconds within{10'000};  ///< altogether
    int attempts =
        4;  ///< the same message is sent so many times, at equal intervals, until there is an answer
    milliseconds back_off{
        50};  ///< the first wait where nobody serves the subject; it doubles, up to the interval
};

namespace detail {

inline constexpr std::size_t smallest_chunk = 1024;  // or headers would weigh more than what they describe
inline constexpr std::size_t most_window = 64;

}  // namespace detail

/// Sends and receives messages of any size: those above the limit of a frame in chunks, which the receiver asks
/// for, at most a window of them at a time.
///
/// - A message is an id and a payload. `request` sends it again, with the same id, until there is an answer; whoever serves answers
///   an id that it knows from memory (or `BUSY`, while it is being worked on), so that a message is worked on once, however often it comes.
/// - A receiver looks at the declared size first: what is larger than `MessengerOptions::largest` is refused, and memory is
///   allocated only for chunks that have come, and at most 16 times as much.
/// - What cannot be answered is answered with an `ERROR` that says why, and is a `TransportError` for who asked.
///
///     transport::Messenger teacher{network.node("b"), {.name = "b"}};
///     auto served = teacher.serve("double", [](const transport::Message& asked) {
///         return transport::Message{.kind = "ANSWER", .tensors = ...};
///     });
///     transport::Messenger student{network.node("a"), {.name = "a"}};
///     const transport::Message answer = student.request("double", {.kind = "QUERY", .tensors = ...});
///
/// All members may be called on several threads at once. What is asked of a subscription that outlives its messenger is answered with
/// an error.
template <Transport T>
class Messenger {
  public:
    /// \throws ConfigError if an option is out of range; TransportError if the inbox cannot be served
    explicit Messenger(T transport, MessengerOptions options = {})
        : state_(std::make_shared<State>(std::move(transport), std::move(options))) {
        inbox_ = state_->transport.serve(
            state_->inbox, [state = std::weak_ptr<State>(state_)](const Frame& frame) {
                const auto held = state.lock();
                if (!held) return std::vector<Frame>{error_frame(frame.header, "the sender has ended")};
                return held->chunks_for(frame);
            });
    }

    const T& transport() const { return state_->transport; }
    const std::string& name() const { return state_->options.name; }
    const MessengerOptions& options() const { return state_->options; }
    /// A new id.
    Id new_id() const { return state_->new_id(); }

    /// Asks who serves a subject, and returns the first answer.
    /// \throws TransportError if there is none in time (`timed_out`, or `nobody`), the other side answers with an error (`refused`),
    /// or the message or the answer is too large
    Frame request(std::string_view subject, Frame frame, const RequestOptions& options = {}) const {
        return state_->request(subject, std::move(frame), options);
    }
    Message request(std::string_view subject, const Message& message,
                    const RequestOptions& options = {}) const {
        return to_message(request(subject, to_frame(message), options));
    }

    /// Asks all who serve a subject once, and passes the answers to `sink` as they come, one per sender, errors among
    /// them (as the kind `ERROR`), until it returns false or the time is over.
    Ended collect(std::string_view subject, Frame frame, milliseconds within, const Sink& sink) const {
        return state_->collect(subject, std::move(frame), within, sink);
    }
    /// An answer that is no message, or whose chunks cannot be had, is passed on as an `ERROR` with the reason in the field `reason`.
    Ended collect(std::string_view subject, const Message& message, milliseconds within,
                  const std::function<bool(const Message&)>& sink) const {
        return collect(subject, to_frame(message), within, [&](const Frame& frame) {
            return sink(frame.header.kind == kind::error ? failed(frame.header, error_text(frame))
                                                         : read_or_failed(frame));
        });
    }

    /// Tells all who serve a subject.
    void publish(std::string_view subject, Frame frame) const { state_->publish(subject, std::move(frame)); }
    void publish(std::string_view subject, const Message& message) const {
        publish(subject, to_frame(message));
    }

    /// Calls `handler` for every message that comes to a subject, once per sender and id. What it returns is the answer, with the id of the
    /// message; what it throws is one of the kind `ERROR`.
    Subscription serve(std::string_view subject, std::function<Frame(const Frame&)> handler) const {
        return state_->transport.serve(subject, [state = std::weak_ptr<State>(state_),
                                                 handler = std::move(handler)](const Frame& frame) {
            const auto held = state.lock();
            if (!held) return std::vector<Frame>{error_frame(frame.header, "the server has ended")};
            return std::vector<Frame>{held->answer(frame, handler)};
        });
    }
    Subscription serve(std::string_view subject, std::function<Message(const Message&)> handler) const {
        return serve(subject,
                     std::function<Frame(const Frame&)>([handler = std::move(handler)](const Frame& frame) {
                         return to_frame(handler(to_message(frame)));
                     }));
    }

  private:
    static Message read_or_failed(const Frame& frame) {
        try {
            return to_message(frame);
        } catch (const TransportError& error) {
            return failed(frame.header, error.what());
        }
    }
    static Message failed(const Header& about, std::string reason) {
        return {.kind = std::string(kind::error),
                .id = about.id,
                .run = about.run,
                .sender = about.sender,
                .fields = {{"reason", std::move(reason)}}};
    }

    using Reason = TransportError::Reason;
    using Key = std::pair<std::string, Id>;  // sender and id

    struct State {
        /// A message of which others may ask for chunks.
        struct Held {
            Frame whole{};
            std::size_t chunk = 0;
        };
        struct Remembered {
            Key key{};
            Frame first{};
            std::uint64_t held = 0;  ///< 0: it is one frame
            std::size_t bytes = 0;
        };

        State(T carries, MessengerOptions how) : transport(std::move(carries)), options(std::move(how)) {
            const auto refuse = [](const auto&... parts) {
                throw ConfigError(detail::concat("Messenger: expected ", parts...));
            };
            if (options.name.empty()) options.name = "node-" + Id::random().text();
            if (!detail::is_token(options.name) || options.name.size() > 64)
                refuse("a name of at most 64 letters, digits, - and _, found \"",
                       detail::excerpt(options.name), '"');
            if (options.run.size() > 128) refuse("a run of at most 128 bytes, found ", options.run.size());
            inbox = detail::concat(options.inbox, '.', options.name);
            detail::check_subject(inbox);
            const std::size_t frame = transport.limits().frame;
            const std::size_t room =
                frame > frame_prefix + most_header ? frame - frame_prefix - most_header : 0;
            options.chunk = std::min(options.chunk, room);
            if (options.chunk < detail::smallest_chunk)
                refuse("chunks of at least ", detail::smallest_chunk, " bytes, found ", options.chunk);
            if (options.window < 1 || options.window > detail::most_window)
                refuse("a window of 1 to ", detail::most_window, " chunks, found ", options.window);
            if (options.answers < 1) refuse("at least 1 answer in memory, found 0");
            if (options.seed == 0) options.seed = Id::random().halves[0];
        }

        T transport;
        MessengerOptions options;
        std::string inbox{};
        std::mutex mutex{};
        std::map<std::uint64_t, Held> held{};  // by number
        std::uint64_t numbers = 0, ids = 0;
        std::deque<Remembered> memory{};  // the oldest first
        std::size_t memory_bytes = 0;
        std::set<Key> in_progress{};

        Id new_id() {
            const std::lock_guard lock(mutex);
            return next_id();
        }
        Id next_id() {
            using retort::detail::split_mix;
            ++ids;
            return {
                {split_mix(options.seed ^ split_mix(ids)), split_mix(~options.seed + split_mix(ids)) | 1U}};
        }

        // --- sending ---

        /// Completes the header, and holds the message if it is larger than a frame. \pre the mutex is locked
        /// \returns the number under which it is held; 0: it is not
        std::uint64_t prepare(Frame& frame) {
            if (frame.payload.size() > options.largest) {
                throw TransportError(
                    Reason::too_large,
                    detail::concat(detail::excerpt(frame.header.kind), ": expected at most ", options.largest,
                                   " bytes (MessengerOptions::largest), found ", frame.payload.size()));
            }
            Header& header = frame.header;
            if (header.id.empty()) header.id = next_id();
            header.run = options.run;
            header.sender = options.name;
            header.chunk = 0;
            header.size = frame.payload.size();
            header.chunks = std::max<std::uint64_t>((header.size + options.chunk - 1) / options.chunk, 1);
            if (header.chunks == 1) return 0;
            header.inbox = inbox;
            header.held = ++numbers;
            held[header.held] = {frame, options.chunk};
            frame.payload = frame.payload.slice(0, options.chunk);
            return header.held;
        }
        void release(std::uint64_t number) {
            if (number != 0) held.erase(number);
        }
        /// Holds a message while it is asked.
        class Holding {
          public:
            Holding(State& state, Frame& frame) : state_(state) {
                const std::lock_guard lock(state_.mutex);
                number_ = state_.prepare(frame);
            }
            Holding(const Holding&) = delete;
            Holding& operator=(const Holding&) = delete;
            ~Holding() {
                const std::lock_guard lock(state_.mutex);
                state_.release(number_);
            }

          private:
            State& state_;
            std::uint64_t number_;
        };

        std::vector<Frame> chunks_for(const Frame& asked) {
            if (asked.header.kind != kind::pull) {
                return {error_frame(asked.header, detail::concat("an inbox: expected PULL, found ",
                                                                 detail::excerpt(asked.header.kind)))};
            }
            Held message;
            {
                const std::lock_guard lock(mutex);
                const auto found = held.find(asked.header.held);
                if (found == held.end() || found->second.whole.header.id != asked.header.id)
                    return {error_frame(asked.header, "this message is no longer held")};
                message = found->second;
            }
            std::vector<Frame> result;
            detail::ByteReader reader(asked.payload.view());
            if (reader.left() % 8 != 0 || reader.left() / 8 > detail::most_window) {
                return {error_frame(asked.header,
                                    detail::concat("expected at most ", detail::most_window,
                                                   " numbers of chunks, found ", reader.left(), " bytes"))};
            }
            while (reader.left() > 0) {
                const auto chunk = reader.number<std::uint64_t>("a chunk");
                if (chunk >= message.whole.header.chunks) {
                    return {error_frame(asked.header,
                                        detail::concat("expected chunks below ", message.whole.header.chunks,
                                                       ", found ", chunk))};
                }
                Frame& part = result.emplace_back(message.whole);
                part.header.chunk = chunk;
                part.payload = message.whole.payload.slice(chunk * message.chunk, message.chunk);
            }
            return result;
        }

        // --- receiving ---

        /// How to ask for chunks: every two seconds, and four times at least.
        static RequestOptions pulling(milliseconds within) {
            return {within, static_cast<int>(std::clamp<std::int64_t>(within.count() / 2000, 4, 1'000'000)),
                    milliseconds(50)};
        }
        /// Throws if what a first chunk declares is too large or contradicts itself.
        void check_declared(const Frame& first) const {
            const Header& header = first.header;
            const auto refuse = [&](Reason reason, const auto&... parts) {
                throw TransportError(reason,
                                     detail::concat(detail::excerpt(header.kind), " of ",
                                                    detail::excerpt(header.sender), ": expected ", parts...));
            };
            if (header.size > options.largest) {
                refuse(Reason::too_large, "at most ", options.largest,
                       " bytes (MessengerOptions::largest), found ", header.size);
            }
            const std::uint64_t part = first.payload.size();
            if (header.chunk != 0) refuse(Reason::malformed, "its first chunk, found chunk ", header.chunk);
            if (header.chunks == 1) {
                if (part != header.size && header.size != 0)
                    refuse(Reason::malformed, header.size, " bytes, found ", part);
                return;
            }
            if (part < detail::smallest_chunk || part >= header.size ||
                header.chunks != (header.size + part - 1) / part) {
                refuse(Reason::malformed, "chunks of at least ", detail::smallest_chunk,
                       " bytes that make up the message, found ", part, " bytes in the first of ",
                       header.chunks, " of a message of ", header.size);
            }
            if (!detail::is_subject(header.inbox))
                refuse(Reason::malformed, "an inbox, found \"", detail::excerpt(header.inbox), '"');
        }

        /// The whole message that a first chunk begins.
        Frame whole(const Frame& first, const RequestOptions& how) {
            check_declared(first);
            if (first.header.chunks == 1) return first;
            const std::uint64_t part = first.payload.size(), chunks = first.header.chunks;
            std::string content(first.payload.view());
            for (std::uint64_t begin = 1; begin < chunks; begin += options.window) {
                const std::uint64_t count = std::min<std::uint64_t>(options.window, chunks - begin);
                const std::vector<Bytes> parts = window(first, begin, count, part, how);
                // Memory for what has come, and for no more than 16 times as much.
                if (content.capacity() < std::min(content.size() + count * part, first.header.size))
                    content.reserve(
                        std::min<std::uint64_t>(16 * (content.size() + count * part), first.header.size));
                for (const Bytes& each : parts) content.append(each.view());
            }
            Frame result{first.header, std::move(content)};
            result.header.chunks = 1;
            result.header.inbox.clear();
            result.header.held = 0;
            return result;
        }
        std::vector<Bytes> window(const Frame& first, std::uint64_t begin, std::uint64_t count,
                                  std::uint64_t part, const RequestOptions& how) {
            std::vector<std::optional<Bytes>> parts(count);
            std::string failure;
            const auto attempt = [&](milliseconds time) {
                Frame pull{{.kind = std::string(kind::pull),
                            .id = first.header.id,
                            .run = options.run,
                            .sender = options.name,
                            .within = time,
                            .held = first.header.held},
                           {}};
                std::string numbers_wanted;
                std::size_t missing = 0;
                for (std::uint64_t i = 0; i < count; ++i) {
                    if (parts[i]) continue;
                    retort::detail::append_number(numbers_wanted, begin + i);
                    ++missing;
                }
                pull.payload = std::move(numbers_wanted);
                return transport.ask(first.header.inbox, pull, time, [&](const Frame& chunk) {
                    const Header& header = chunk.header;
                    if (header.id != first.header.id) return true;
                    if (header.kind == kind::error) {
                        failure = error_text(chunk);
                        return false;
                    }
                    const std::uint64_t i = header.chunk - begin;
                    if (header.held != first.header.held || header.chunk < begin || i >= count || parts[i])
                        return true;
                    if (chunk.payload.size() != std::min(part, first.header.size - header.chunk * part))
                        return true;
                    parts[i] = chunk.payload;
                    return --missing > 0;
                });
            };
            const auto complete = [&] {
                return std::all_of(parts.begin(), parts.end(),
                                   [](const auto& each) { return each.has_value(); });
            };
            repeat(first.header.inbox, how, attempt, [&] { return complete() || !failure.empty(); });
            if (!failure.empty()) {
                throw TransportError(Reason::refused,
                                     detail::concat(first.header.inbox, ": expected chunks ", begin, " to ",
                                                    begin + count - 1, ", found: ", failure));
            }
            std::vector<Bytes> result;
            for (auto& each : parts) result.push_back(std::move(*each));
            return result;
        }

        // --- asking ---

        /// Attempts until `over`, or the time is.
        template <class Attempt, class Over>
        void repeat(std::string_view subject, const RequestOptions& how, Attempt&& attempt, Over&& over) {
            const milliseconds interval = std::max(how.within / how.attempts, milliseconds(1));
            milliseconds spent{0}, back_off = how.back_off;
            bool nobody = false;
            while (!over()) {
                if (spent >= how.within) {
                    throw TransportError(
                        nobody ? Reason::nobody : Reason::timed_out,
                        detail::concat(subject, ": expected an answer within ", how.within.count(),
                                       " ms, found ", nobody ? "that nobody serves this subject" : "none"));
                }
                const Ended ended = attempt(interval);
                nobody = ended == Ended::nobody;
                if (nobody) {
                    const milliseconds wait = std::min(back_off, interval);
                    transport.pause(wait);
                    spent += wait;
                    back_off *= 2;
                } else if (ended == Ended::deadline) {
                    spent += interval;
                } else if (!over()) {
                    // An answer that could not be used: as if it had not come.
                    spent += interval;
                }
            }
        }
        static void check(const RequestOptions& how) {
            if (how.attempts < 1 || how.within.count() < how.attempts || how.back_off.count() < 1) {
                throw ConfigError(
                    detail::concat("RequestOptions: expected at least 1 attempt, 1 ms for each, and a "
                                   "back_off of at least 1 ms, found ",
                                   how.attempts, " attempts within ", how.within.count(), " ms, back_off ",
                                   how.back_off.count(), " ms"));
            }
        }

        Frame request(std::string_view subject, Frame frame, const RequestOptions& how) {
            check(how);
            frame.header.within = how.within;
            const Holding holding(*this, frame);
            std::optional<Frame> result;
            std::optional<TransportError> failure;
            repeat(
                subject, how,
                [&](milliseconds time) {
                    std::optional<Frame> first;
                    const Ended ended = transport.ask(subject, frame, time, [&](const Frame& answer) {
                        if (answer.header.id != frame.header.id || answer.header.kind == kind::busy)
                            return true;
                        first = answer;
                        return false;
                    });
                    if (!first) return ended;
                    if (first->header.kind == kind::error) {
                        failure.emplace(Reason::refused,
                                        detail::concat(subject, ": expected an answer to ",
                                                       detail::excerpt(frame.header.kind),
                                                       ", found an error: ", error_text(*first)));
                        return ended;
                    }
                    try {
                        result = whole(*first, pulling(how.within));
                    } catch (const TransportError& error) {
                        // Chunks that did not come, or are no longer held, may come with another try.
                        if (error.reason == Reason::too_large || error.reason == Reason::malformed) throw;
                    }
                    return ended;
                },
                [&] { return result || failure; });
            if (failure) throw *failure;
            return *result;
        }

        Ended collect(std::string_view subject, Frame frame, milliseconds within, const Sink& sink) {
            frame.header.within = within;
            const Holding holding(*this, frame);
            std::set<std::string> senders;
            return transport.ask(subject, frame, within, [&](const Frame& answer) {
                const Header& header = answer.header;
                if (header.id != frame.header.id || header.kind == kind::busy) return true;
                if (!senders.insert(header.sender).second) return true;
                try {
                    return sink(whole(answer, pulling(within)));
                } catch (const TransportError& error) {
                    Frame failed = error_frame(header, error.what());
                    failed.header.sender = header.sender;
                    return sink(failed);
                }
            });
        }

        void publish(std::string_view subject, Frame frame) {
            {
                const std::lock_guard lock(mutex);
                const std::size_t size = frame.payload.size();
                if (const std::uint64_t number = prepare(frame); number != 0)
                    remember({{}, {}, number, size});
            }
            transport.publish(subject, frame);
        }

        // --- answering ---

        /// \pre the mutex is locked
        void remember(Remembered answer) {
            memory_bytes += answer.bytes;
            memory.push_back(std::move(answer));
            while (memory.size() > 1 && (memory.size() > options.answers || memory_bytes > options.memory)) {
                memory_bytes -= memory.front().bytes;
                release(memory.front().held);
                memory.pop_front();
            }
        }
        class InProgress {
          public:
            InProgress(State& state, const Key& key) : state_(state), key_(key) {}
            InProgress(const InProgress&) = delete;
            InProgress& operator=(const InProgress&) = delete;
            ~InProgress() {
                const std::lock_guard lock(state_.mutex);
                state_.in_progress.erase(key_);
            }

          private:
            State& state_;
            Key key_;
        };

        Frame answer(const Frame& asked, const std::function<Frame(const Frame&)>& handler) {
            const Header& header = asked.header;
            const auto with_sender = [&](Frame result) {
                result.header.sender = options.name;
                return result;
            };
            if (header.run != options.run) {
                return with_sender(
                    error_frame(header, detail::concat("expected the run \"", options.run, "\", found \"",
                                                       detail::excerpt(header.run), '"')));
            }
            const Key key(header.sender, header.id);
            if (!header.id.empty()) {
                const std::lock_guard lock(mutex);
                for (const Remembered& each : memory) {
                    if (each.key == key) return each.first;
                }
                if (!in_progress.insert(key).second) {
                    return with_sender(
                        {{.kind = std::string(kind::busy), .id = header.id, .run = options.run}, {}});
                }
            }
            const InProgress working(*this, key);
            Frame result;
            try {
                result = handler(whole(asked, pulling(std::max(header.within, milliseconds(1000)))));
            } catch (const std::exception& error) {
                return with_sender(error_frame(header, error.what()));
            }
            if (result.header.kind.empty()) result.header.kind = kind::done;
            result.header.id = header.id;
            const std::size_t bytes = result.payload.size();
            const std::lock_guard lock(mutex);
            std::uint64_t number = 0;
            try {
                number = prepare(result);
            } catch (const TransportError& error) {
                return with_sender(error_frame(header, error.what()));
            }
            if (!header.id.empty() || number != 0) remember({key, result, number, bytes});
            return result;
        }
    };

    std::shared_ptr<State> state_;
    Subscription inbox_{};
};

}  // namespace retort::transport
