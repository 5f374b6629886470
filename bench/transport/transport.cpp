// SPDX-License-Identifier: BSL-1.0
/// \file
/// Messages over a NATS server, compared with NATS's C client alone: wall-clock time, medians, alternately.
///
/// - Probes: a question to all of 5 or 50 responders, each of which answers 64 KB.
/// - Lessons: 1 KB to 64 MB to one responder, in chunks of 1 MB, 8 of them not yet received. The bare client sends them, and waits for a word
///   after every 8; it neither checks, nor keeps, nor repeats anything.
///
/// Starts a server of its own on the loopback. `--repeats` and `--largest` (in MB) make it longer or shorter.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#if defined(RETORT_WITH_NATS) && RETORT_WITH_NATS && defined(RETORT_WITH_JSON) && RETORT_WITH_JSON
#include <nats/nats.h>

#include <retort/transport/messenger.hpp>
#include <retort/transport/nats.hpp>

#include "nats_server.hpp"

namespace {

using namespace retort::transport;
using Clock = std::chrono::steady_clock;

constexpr std::size_t chunk = (1U << 20U) - 8192;
constexpr std::size_t answer_size = 64U << 10U;
constexpr int window = 8;

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}
double seconds_of(const std::function<void()>& work) {
    const auto begin = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - begin).count();
}
/// Medians of both, taken alternately.
std::pair<double, double> compare(int repeats, const std::function<void()>& bare,
                                  const std::function<void()>& ours) {
    bare();
    ours();
    std::vector<double> of_bare, of_ours;
    for (int i = 0; i < repeats; ++i) {
        const bool bare_first = i % 2 == 0;
        if (bare_first) of_bare.push_back(seconds_of(bare));
        of_ours.push_back(seconds_of(ours));
        if (!bare_first) of_bare.push_back(seconds_of(bare));
    }
    return {median(of_bare), median(of_ours)};
}
std::string size_text(std::size_t size) {
    return size < (1U << 20U) ? std::to_string(size >> 10U) + " KB" : std::to_string(size >> 20U) + " MB";
}
void row(const char* what, int responders, std::size_t size, std::pair<double, double> times) {
    std::printf("%-8s %10d %8s %12.3f %12.3f %8.2f %10.0f\n", what, responders, size_text(size).c_str(),
                1e3 * times.first, 1e3 * times.second, times.second / times.first,
                static_cast<double>(size) / 1e6 / times.second);
    std::fflush(stdout);
}
void check(natsStatus status) {
    if (status != NATS_OK) throw std::runtime_error(natsStatus_GetText(status));
}

/// The client alone.
class Bare {
  public:
    explicit Bare(const std::string& url) { check(natsConnection_ConnectTo(&connection_, url.c_str())); }
    Bare(const Bare&) = delete;
    Bare& operator=(const Bare&) = delete;
    ~Bare() {
        for (natsSubscription* each : subscriptions_) natsSubscription_Destroy(each);
        natsConnection_Destroy(connection_);
    }
    void subscribe(const char* subject, natsMsgHandler handler) {
        natsSubscription* subscription = nullptr;
        check(natsConnection_Subscribe(&subscription, connection_, subject, handler, nullptr));
        check(natsSubscription_SetPendingLimits(subscription, -1, -1));
        check(natsConnection_Flush(connection_));
        subscriptions_.push_back(subscription);
    }
    /// A question to all, until so many have answered.
    void probe(const std::string& content, int answers) const {
        natsInbox* inbox = nullptr;
        natsSubscription* subscription = nullptr;
        check(natsInbox_Create(&inbox));
        check(natsConnection_SubscribeSync(&subscription, connection_, inbox));
        check(natsConnection_PublishRequest(connection_, "bare.probe", inbox, content.data(),
                                            static_cast<int>(content.size())));
        for (int i = 0; i < answers; ++i) {
            natsMsg* message = nullptr;
            check(natsSubscription_NextMsg(&message, subscription, 60'000));
            natsMsg_Destroy(message);
        }
        natsSubscription_Destroy(subscription);
        natsInbox_Destroy(inbox);
    }
    void lesson(const std::string& content) const {
        int sent = 0;
        for (std::size_t begin = 0; begin < content.size(); begin += chunk) {
            const std::size_t size = std::min(chunk, content.size() - begin);
            const bool wait = ++sent % window == 0 || begin + size == content.size();
            if (wait) {
                natsMsg* word = nullptr;
                check(natsConnection_Request(&word, connection_, "bare.lesson", content.data() + begin,
                                             static_cast<int>(size), 60'000));
                natsMsg_Destroy(word);
            } else {
                check(natsConnection_Publish(connection_, "bare.lesson", content.data() + begin,
                                             static_cast<int>(size)));
            }
        }
    }

  private:
    natsConnection* connection_ = nullptr;
    std::vector<natsSubscription*> subscriptions_{};
};

void answer_bare(natsConnection* connection, natsSubscription*, natsMsg* message, void*) {
    static const std::string content(answer_size, 'a');
    natsConnection_Publish(connection, natsMsg_GetReply(message), content.data(),
                           static_cast<int>(content.size()));
    natsMsg_Destroy(message);
}
void take_bare(natsConnection* connection, natsSubscription*, natsMsg* message, void*) {
    static thread_local std::string content;  // what it was sent is put together
    const char* const reply = natsMsg_GetReply(message);
    if (content.size() > (std::size_t{64} << 20U)) content.clear();
    content.append(natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message)));
    if (reply != nullptr) natsConnection_Publish(connection, reply, "ok", 2);
    natsMsg_Destroy(message);
}

struct Options {
    int repeats = 11;
    std::size_t largest = 64;
};

void measure(const Options& options) {
    if (!retort_test::NatsServer::available()) {
        std::printf("nothing measured: there is no nats-server here\n");
        return;
    }
    const auto folder = std::filesystem::temp_directory_path() / "retort-bench-transport";
    std::filesystem::create_directories(folder);
    const retort_test::NatsServer server(folder);
    const std::string url = server.url();
    std::printf("%-8s %10s %8s %12s %12s %8s %10s\n", "what", "responders", "size", "bare [ms]",
                "retort [ms]", "ratio", "MB/s");
    const auto messenger = [&](const std::string& name) {
        return std::make_unique<Messenger<Nats>>(Nats{{.servers = {url}}}, MessengerOptions{.name = name});
    };
    const Bare asker(url);
    const auto ours = messenger("asker");
    for (const int responders : {5, 50}) {
        std::vector<std::unique_ptr<Bare>> bare;
        std::vector<std::unique_ptr<Messenger<Nats>>> nodes;
        std::vector<Subscription> served;
        for (int i = 0; i < responders; ++i) {
            bare.push_back(std::make_unique<Bare>(url));
            bare.back()->subscribe("bare.probe", &answer_bare);
            nodes.push_back(messenger("node-" + std::to_string(i)));
            served.push_back(nodes.back()->serve("ours.probe", [](const Frame&) {
                static const Bytes content(std::string(answer_size, 'a'));
                return Frame{{.kind = "OFFER"}, content};
            }));
        }
        for (const std::size_t size :
             {std::size_t{1} << 10U, std::size_t{64} << 10U, std::size_t{1000} << 10U}) {
            const std::string content(size, 'q');
            const Bytes shared(content);
            row("probe", responders, size,
                compare(
                    options.repeats, [&] { asker.probe(content, responders); },
                    [&] {
                        int count = 0;
                        ours->collect("ours.probe", Frame{{.kind = "QUERY"}, shared}, milliseconds(60'000),
                                      [&](const Frame&) { return ++count < responders; });
                    }));
        }
        served.clear();
    }
    Bare taker(url);
    taker.subscribe("bare.lesson", &take_bare);
    const auto node = messenger("taker");
    const auto served = node->serve("ours.lesson", [](const Frame&) { return Frame{{.kind = "DONE"}, {}}; });
    for (std::size_t size = std::size_t{1} << 10U; size <= options.largest << 20U; size *= 4) {
        const std::string content(size, 'l');
        const Bytes shared(content);
        row("lesson", 1, size,
            compare(
                options.repeats, [&] { asker.lesson(content); },
                [&] {
                    ours->request("ours.lesson", Frame{{.kind = "LESSON"}, shared},
                                  {.within = milliseconds(60'000)});
                }));
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Messages over NATS, compared with NATS's C client alone."};
    Options options;
    app.add_option("--repeats", options.repeats, "Measurements of each")->capture_default_str();
    app.add_option("--largest", options.largest, "Largest lesson, in MB")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    try {
        measure(options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    return 0;
}

#else

int main() { std::printf("nothing measured: built without NATS's C client (RETORT_WITH_NATS)\n"); }

#endif
