// SPDX-License-Identifier: BSL-1.0
/// \file
/// A transport over NATS (https://nats.io). (Not in the umbrella header: it needs NATS's C client.)
///
/// Needs RETORT_WITH_NATS=1 (set by the CMake target where cnats is found): libnats 3.4 or later.
#pragma once

#if !defined(RETORT_WITH_NATS) || !RETORT_WITH_NATS
#error "retort: transport/nats.hpp needs NATS's C client (RETORT_WITH_NATS=1)"
#endif

#include <nats/nats.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/frame.hpp>

namespace retort::transport {

/// Options of `Nats`.
struct NatsOptions {
    /// `nats://host:port`, or `tls://host:port`, of a server or of several of a cluster.
    std::vector<std::string> servers{"nats://127.0.0.1:4222"};
    std::string user{}, password{};       ///< of a user, if the server asks for one
    std::string token{};                  ///< or a token
    std::filesystem::path credentials{};  ///< or a file of credentials (a JWT and its seed)
    struct Tls {
        bool required = false;  ///< also when one of the others is given
        std::filesystem::path
            authority{};  ///< certificates of the authorities that are trusted (PEM); empty: the system's
        std::filesystem::path certificate{};  ///< of this client, with its chain (PEM)
        std::filesystem::path key{};          ///< of that certificate (PEM)
        std::string host_name{};  ///< that the server's certificate must have; empty: that of the URL
    } tls{};
    std::string name = "retort";  ///< of the connection, for the server's logs
    milliseconds timeout{5000};   ///< to connect, and for the server's confirmations
    int reconnects = -1;          ///< attempts after a connection is lost; -1: any number
    std::size_t pending =
        256U << 20U;  ///< bytes that wait for a handler before the newest are dropped, which is an error
    /// Called with each error that the server or the client reports outside of any call, on a thread of the client.
    std::function<void(const TransportError&)> on_error{};
};

namespace detail {

struct NatsDeleter {
    void operator()(natsOptions* each) const { natsOptions_Destroy(each); }
    void operator()(natsConnection* each) const { natsConnection_Destroy(each); }
    void operator()(natsSubscription* each) const { natsSubscription_Destroy(each); }
    void operator()(natsInbox* each) const { natsInbox_Destroy(each); }
};
template <class Handle>
using NatsHandle = std::unique_ptr<Handle, NatsDeleter>;

inline TransportError::Reason reason_of(natsStatus status) {
    using Reason = TransportError::Reason;
    switch (status) {
        case NATS_TIMEOUT:
            return Reason::timed_out;
        case NATS_NO_RESPONDERS:
            return Reason::nobody;
        case NATS_MAX_PAYLOAD:
            return Reason::too_large;
        case NATS_NOT_PERMITTED:
        case NATS_CONNECTION_AUTH_FAILED:
        case NATS_SSL_ERROR:
        case NATS_SECURE_CONNECTION_REQUIRED:
        case NATS_SECURE_CONNECTION_WANTED:
            return Reason::refused;
        default:
            return Reason::disconnected;
    }
}
/// What the client knows of the last error of this thread.
inline std::string nats_words(natsStatus status) {
    natsStatus last = NATS_OK;
    const char* const text = nats_GetLastError(&last);
    std::string result = natsStatus_GetText(status);
    if (last == status && text != nullptr && *text != '\0') result.append(" (").append(text).append(")");
    return result;
}
inline void nats_check(natsStatus status, std::string_view where) {
    if (status == NATS_OK) return;
    throw TransportError(reason_of(status), concat("NATS: ", where, ": ", nats_words(status)));
}

/// What a connection reports outside of any call. The client may report after the connection is destroyed, so it knows
/// its number only.
class NatsEvents {
  public:
    explicit NatsEvents(std::function<void(const TransportError&)> on_error)
        : on_error_(std::move(on_error)) {
        const std::lock_guard lock(registry().mutex);
        number_ = ++registry().numbers;
    }
    static void enroll(const std::shared_ptr<NatsEvents>& events) {
        const std::lock_guard lock(registry().mutex);
        registry().known[events->number_] = events;
    }
    NatsEvents(const NatsEvents&) = delete;
    NatsEvents& operator=(const NatsEvents&) = delete;
    ~NatsEvents() {
        const std::lock_guard lock(registry().mutex);
        registry().known.erase(number_);
    }

    void* closure() const { return reinterpret_cast<void*>(number_); }
    static void on_error(natsConnection* connection, natsSubscription* subscription, natsStatus status,
                         void* closure) {
        std::shared_ptr<NatsEvents> events;
        {
            const std::lock_guard lock(registry().mutex);
            const auto found = registry().known.find(reinterpret_cast<std::uintptr_t>(closure));
            if (found != registry().known.end()) events = found->second.lock();
        }
        if (!events) return;
        const char* text = nullptr;
        natsConnection_GetLastError(connection, &text);
        std::string words = text != nullptr ? text : "";
        if (subscription != nullptr) {
            const char* const subject = natsSubscription_GetSubject(subscription);
            words = concat('"', subject != nullptr ? subject : "", "\": ", natsStatus_GetText(status));
        }
        events->add(
            {reason_of(status), concat("NATS: ", natsStatus_GetText(status), ": ", excerpt(words, 300))});
    }

    /// Takes out the error that names a subject, if there is one.
    std::unique_ptr<TransportError> take(std::string_view subject) {
        const std::string quoted = concat('"', subject, '"');
        const std::lock_guard lock(mutex_);
        const auto found = std::find_if(errors_.begin(), errors_.end(), [&](const TransportError& each) {
            return std::string_view(each.what()).find(quoted) != std::string_view::npos;
        });
        if (found == errors_.end()) return nullptr;
        auto result = std::make_unique<TransportError>(*found);
        errors_.erase(found);
        return result;
    }
    std::vector<TransportError> take_all() {
        const std::lock_guard lock(mutex_);
        std::vector<TransportError> result(errors_.begin(), errors_.end());
        errors_.clear();
        return result;
    }

  private:
    struct Registry {
        std::mutex mutex{};
        std::map<std::uintptr_t, std::weak_ptr<NatsEvents>> known{};
        std::uintptr_t numbers = 0;
    };
    static Registry& registry() {
        static auto* const one = new Registry;  // outlives the client's threads
        return *one;
    }
    void add(TransportError error) {
        {
            const std::lock_guard lock(mutex_);
            errors_.push_back(error);
            if (errors_.size() > 100) errors_.pop_front();
        }
        if (on_error_) on_error_(error);
    }

    std::function<void(const TransportError&)> on_error_;
    std::uintptr_t number_ = 0;
    std::mutex mutex_{};
    std::deque<TransportError> errors_{};
};

/// A connection, shared by the copies of a `Nats`.
class NatsState {
  public:
    explicit NatsState(const NatsOptions& options)
        : options_(options), events_(std::make_shared<NatsEvents>(options.on_error)) {
        if (options.servers.empty()) throw ConfigError("Nats: expected at least one server, found none");
        if (options.timeout.count() < 1)
            throw ConfigError(
                concat("Nats: expected a timeout of at least 1 ms, found ", options.timeout.count()));
        if (options.tls.certificate.empty() != options.tls.key.empty())
            throw ConfigError("Nats: expected a certificate and its key, found one of them");
        NatsEvents::enroll(events_);
        natsOptions* raw = nullptr;
        nats_check(natsOptions_Create(&raw), "options");
        const NatsHandle<natsOptions> how(raw);
        std::vector<const char*> servers;
        for (const std::string& each : options.servers) servers.push_back(each.c_str());
        nats_check(natsOptions_SetServers(raw, servers.data(), static_cast<int>(servers.size())), "servers");
        nats_check(natsOptions_SetName(raw, options.name.c_str()), "name");
        nats_check(natsOptions_SetTimeout(raw, options.timeout.count()), "timeout");
        nats_check(natsOptions_SetSendAsap(raw, true), "options");
        nats_check(natsOptions_SetAllowReconnect(raw, options.reconnects != 0), "reconnects");
        if (options.reconnects != 0)
            nats_check(natsOptions_SetMaxReconnect(raw, options.reconnects), "reconnects");
        nats_check(natsOptions_SetCustomReconnectDelay(raw, &NatsState::back_off, nullptr), "reconnects");
        nats_check(natsOptions_SetErrorHandler(raw, &NatsEvents::on_error, events_->closure()), "options");
        if (!options.user.empty())
            nats_check(natsOptions_SetUserInfo(raw, options.user.c_str(), options.password.c_str()), "user");
        if (!options.token.empty()) nats_check(natsOptions_SetToken(raw, options.token.c_str()), "token");
        if (!options.credentials.empty()) {
            nats_check(natsOptions_SetUserCredentialsFromFiles(raw, options.credentials.c_str(), nullptr),
                       options.credentials.string());
        }
        const NatsOptions::Tls& tls = options.tls;
        if (tls.required || !tls.authority.empty() || !tls.certificate.empty() || !tls.host_name.empty()) {
            nats_check(natsOptions_SetSecure(raw, true), "TLS");
            if (!tls.authority.empty()) {
                nats_check(natsOptions_LoadCATrustedCertificates(raw, tls.authority.c_str()),
                           tls.authority.string());
            }
            if (!tls.certificate.empty()) {
                nats_check(natsOptions_LoadCertificatesChain(raw, tls.certificate.c_str(), tls.key.c_str()),
                           tls.certificate.string());
            }
            if (!tls.host_name.empty())
                nats_check(natsOptions_SetExpectedHostname(raw, tls.host_name.c_str()), "TLS host name");
        }
        natsConnection* connection = nullptr;
        if (const natsStatus status = natsConnection_Connect(&connection, raw); status != NATS_OK) {
            throw TransportError(
                reason_of(status),
                concat("NATS: cannot connect to ", options.servers.front(), ": ", nats_words(status)));
        }
        connection_.reset(connection);
    }

    Limits limits() const {
        return {static_cast<std::size_t>(
            std::max<std::int64_t>(natsConnection_GetMaxPayload(connection_.get()), 0))};
    }
    Traffic traffic() const {
        return {frames_sent_.load(), bytes_sent_.load(), frames_received_.load(), bytes_received_.load()};
    }
    std::vector<TransportError> errors() const { return events_->take_all(); }
    bool connected() const { return natsConnection_Status(connection_.get()) == NATS_CONN_STATUS_CONNECTED; }

    void publish(std::string_view subject, const Frame& frame) {
        check_subject(subject);
        send(std::string(subject), nullptr, frame);
        confirm(subject);
    }

    Ended ask(std::string_view subject, const Frame& frame, milliseconds within, const Sink& sink) {
        check_subject(subject);
        natsInbox* name = nullptr;
        nats_check(natsInbox_Create(&name), "inbox");
        const NatsHandle<natsInbox> inbox(name);
        natsSubscription* raw = nullptr;
        nats_check(natsConnection_SubscribeSync(&raw, connection_.get(), name), subject);
        const NatsHandle<natsSubscription> subscription(raw);
        nats_check(natsSubscription_SetPendingLimits(raw, most_pending, pending()), subject);
        const auto deadline = std::chrono::steady_clock::now() + within;
        send(std::string(subject), name, frame);
        while (true) {
            const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
            if (left.count() <= 0) return Ended::deadline;
            natsMsg* raw_message = nullptr;
            // In slices, as what the server refuses comes on another way.
            const natsStatus status =
                natsSubscription_NextMsg(&raw_message, raw, std::min<std::int64_t>(left.count(), 20));
            const std::shared_ptr<natsMsg> message(raw_message, &natsMsg_Destroy);
            if (status == NATS_NO_RESPONDERS) return Ended::nobody;
            if (status == NATS_TIMEOUT || status == NATS_SLOW_CONSUMER) {
                for (const std::string_view each : {subject, std::string_view(name)}) {
                    if (const auto error = events_->take(each)) throw *error;
                }
                continue;
            }
            nats_check(status, subject);
            if (natsMsg_IsNoResponders(raw_message)) return Ended::nobody;
            const Frame answer = receive(message);
            if (!sink(answer)) return Ended::enough;
        }
    }

    Subscription serve(const std::shared_ptr<NatsState>& self, std::string_view subject, Handler handler) {
        check_subject(subject);
        auto service = std::make_shared<Service>(self, std::string(subject), std::move(handler));
        service->begin(service);
        // Its messages come on a thread of its own, which may still be in its handler.
        Subscription result(std::shared_ptr<void>(service.get(), [service](void*) { service->end(); }));
        confirm(subject);
        return result;
    }

  private:
    static constexpr int most_pending = 1 << 20;  // messages

    class Service {
      public:
        Service(std::shared_ptr<NatsState> state, std::string subject, Handler handler)
            : state_(std::move(state)), subject_(std::move(subject)), handler_(std::move(handler)) {}

        void begin(const std::shared_ptr<Service>& self) {
            natsSubscription* raw = nullptr;
            auto held = std::make_unique<std::shared_ptr<Service>>(self);
            nats_check(natsConnection_Subscribe(&raw, state_->connection_.get(), subject_.c_str(),
                                                &Service::on_message, held.get()),
                       subject_);
            subscription_.reset(raw);
            nats_check(natsSubscription_SetPendingLimits(raw, most_pending, state_->pending()), subject_);
            nats_check(natsSubscription_SetOnCompleteCB(raw, &Service::on_complete, held.get()), subject_);
            static_cast<void>(held.release());  // until the client is done with it
        }
        void end() {
            std::unique_lock lock(mutex_);
            ended_ = true;
            natsSubscription_Unsubscribe(subscription_.get());
            done_.wait(lock, [&] { return !running_ || thread_ == std::this_thread::get_id(); });
            lock.unlock();
            subscription_.reset();
            if (thread_ != std::this_thread::get_id()) state_.reset();
        }

      private:
        static void on_complete(void* closure) { delete static_cast<std::shared_ptr<Service>*>(closure); }
        static void on_message(natsConnection*, natsSubscription*, natsMsg* raw, void* closure) {
            const std::shared_ptr<natsMsg> message(raw, &natsMsg_Destroy);
            const std::shared_ptr<Service> self = *static_cast<std::shared_ptr<Service>*>(closure);
            std::shared_ptr<NatsState> state;
            {
                const std::lock_guard lock(self->mutex_);
                if (self->ended_) return;
                self->running_ = true;
                self->thread_ = std::this_thread::get_id();
                state = self->state_;
            }
            const char* const reply = natsMsg_GetReply(raw);
            state->answer(message, reply != nullptr ? reply : "", self->handler_);
            {
                const std::lock_guard lock(self->mutex_);
                self->running_ = false;
                self->thread_ = {};
            }
            self->done_.notify_all();
        }

        std::shared_ptr<NatsState> state_;
        std::string subject_;
        Handler handler_;
        NatsHandle<natsSubscription> subscription_{};
        std::mutex mutex_{};
        std::condition_variable done_{};
        std::thread::id thread_{};
        bool running_ = false, ended_ = false;
    };

    static std::int64_t back_off(natsConnection*, int attempts, void*) {
        return std::min<std::int64_t>(std::int64_t{50} << std::min(attempts, 6), 2000);
    }
    int pending() const {
        return static_cast<int>(std::min<std::size_t>(options_.pending, std::size_t{1} << 30U));
    }

    void send(const std::string& subject, const char* reply, const Frame& frame) {
        // One buffer a thread: a new one for each frame would cost as much as sending it.
        static thread_local std::string bytes;
        bytes.assign(encode_head(frame));
        bytes.append(frame.payload.view());
        check_frame_size(subject, bytes.size(), limits());
        const auto size = static_cast<int>(bytes.size());
        nats_check(reply == nullptr
                       ? natsConnection_Publish(connection_.get(), subject.c_str(), bytes.data(), size)
                       : natsConnection_PublishRequest(connection_.get(), subject.c_str(), reply,
                                                       bytes.data(), size),
                   subject);
        ++frames_sent_;
        bytes_sent_ += static_cast<std::int64_t>(bytes.size());
    }
    Frame receive(const std::shared_ptr<natsMsg>& message) {
        const std::string_view bytes(natsMsg_GetData(message.get()),
                                     static_cast<std::size_t>(natsMsg_GetDataLength(message.get())));
        ++frames_received_;
        bytes_received_ += static_cast<std::int64_t>(bytes.size());
        return decode(Bytes(message, bytes));
    }
    /// Waits until the server has taken what was sent, and throws what it says against it.
    void confirm(std::string_view subject) {
        nats_check(natsConnection_FlushTimeout(connection_.get(), options_.timeout.count()), subject);
        const char* text = nullptr;
        natsConnection_GetLastError(connection_.get(), &text);
        if (text == nullptr ||
            std::string_view(text).find(concat('"', subject, '"')) == std::string_view::npos)
            return;
        // The server has answered by now; its words are on their way through the client's threads, or old.
        for (int i = 0; i < 100; ++i) {
            if (const auto error = events_->take(subject)) throw *error;
            std::this_thread::sleep_for(milliseconds(1));
        }
    }
    /// Never throws: there is nobody to catch it.
    void answer(const std::shared_ptr<natsMsg>& message, const std::string& reply,
                const Handler& handler) noexcept {
        Header about;
        const auto refuse = [&](const char* words) {
            if (reply.empty()) return;
            try {
                send(reply, nullptr, error_frame(about, words));
            } catch (const std::exception&) {
                // The connection is gone, and with it whoever waits.
            }
        };
        try {
            const Frame frame = receive(message);
            about = frame.header;
            for (const Frame& each : answers_of(handler, frame)) {
                if (!reply.empty()) send(reply, nullptr, each);
            }
        } catch (const std::exception& error) {
            refuse(error.what());
        } catch (...) {
            refuse("an exception that is no std::exception");
        }
    }

    const NatsOptions options_;
    std::shared_ptr<NatsEvents> events_;
    NatsHandle<natsConnection> connection_{};
    std::atomic<std::int64_t> frames_sent_{0}, bytes_sent_{0}, frames_received_{0}, bytes_received_{0};
};

}  // namespace detail

/// A transport over a NATS server or cluster. Copies are the same connection.
///
///     retort::transport::Nats nats{{.servers = {"tls://10.0.0.7:4222"},
///                                   .user = "student",
///                                   .password = "...",
///                                   .tls = {.authority = "ca.pem", .certificate = "me.pem", .key = "me-key.pem"}}};
///
/// - Each `serve` has a thread of its own, which calls the handler for one frame after the other.
/// - The largest frame is the server's `max_payload`; larger messages go through `Messenger`.
/// - A connection that is lost is made again by itself, with a growing delay; subscriptions stay. What is under way then is
///   lost, and asked again by `Messenger`.
/// - `publish` and `serve` wait for the server's confirmation, so that a missing permission is a `TransportError`; so it is in `ask`.
///   What is reported outside of any call (an answer that may not be sent, a handler that is too slow) is in `errors`, and goes
///   to `NatsOptions::on_error`.
/// - Rights are the server's: what a user may publish and subscribe, by subject. Who asks needs `_INBOX.>` to subscribe;
///   who answers needs it to publish (or `allow_responses`).
class Nats {
  public:
    /// Connects.
    /// \throws ConfigError if an option is out of range; TransportError if there is no server, or it refuses
    explicit Nats(const NatsOptions& options = {}) : state_(std::make_shared<detail::NatsState>(options)) {}

    Subscription serve(std::string_view subject, Handler handler) const {
        return state_->serve(state_, subject, std::move(handler));
    }
    Ended ask(std::string_view subject, const Frame& frame, milliseconds within, const Sink& sink) const {
        return state_->ask(subject, frame, within, sink);
    }
    void publish(std::string_view subject, const Frame& frame) const { state_->publish(subject, frame); }
    void pause(milliseconds time) const { std::this_thread::sleep_for(time); }
    Limits limits() const { return state_->limits(); }
    Traffic traffic() const { return state_->traffic(); }

    /// What was reported outside of any call since the last time; the last 100 at most.
    std::vector<TransportError> errors() const { return state_->errors(); }
    bool connected() const { return state_->connected(); }

  private:
    std::shared_ptr<detail::NatsState> state_;
};

static_assert(Transport<Nats>);

}  // namespace retort::transport
