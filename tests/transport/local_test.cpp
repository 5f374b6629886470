// SPDX-License-Identifier: BSL-1.0
/// \file
/// The transport within one process, and what goes wrong in it.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <thread>

#include <retort/transport/local.hpp>

namespace local_test {

using namespace retort_test;
using namespace retort::transport;
using namespace std::chrono_literals;
using retort::ConfigError;
using retort::TransportError;

namespace {

Frame frame(const std::string& kind, const std::string& payload = {}) { return {{.kind = kind}, payload}; }
/// Answers with its name and what it was asked.
Handler echo(const std::string& name) {
    return [name](const Frame& asked) {
        return std::vector{Frame{{.kind = "ECHO", .sender = name}, std::string(asked.payload.view())}};
    };
}
/// Who answers, in order, and what ended it.
std::pair<std::string, Ended> answers(const Local& from, std::string_view subject, std::size_t enough = 100,
                                      milliseconds within = 1s) {
    std::string result;
    std::size_t count = 0;
    const Ended ended = from.ask(subject, frame("QUERY", "x"), within, [&](const Frame& answer) {
        result.append(answer.header.sender).append(answer.header.kind == "ERROR" ? error_text(answer) : "");
        return ++count < enough;
    });
    return {result, ended};
}

}  // namespace

TEST_CASE("a question is answered by all who serve the subject, until there is enough") {
    const LocalNetwork network;
    const Local a = network.node("a"), b = network.node("b"), c = network.node("c");
    CHECK((answers(a, "who") == std::pair(std::string(), Ended::nobody)));
    const auto of_b = b.serve("who", echo("b"));
    auto of_c = c.serve("who", echo("c"));
    CHECK((answers(a, "who") == std::pair(std::string("bc"), Ended::deadline)));
    CHECK((answers(a, "who", 2) == std::pair(std::string("bc"), Ended::enough)));
    CHECK((answers(a, "who", 1) == std::pair(std::string("b"), Ended::enough)));
    CHECK(answers(a, "what").second == Ended::nobody);
    of_c.end();
    CHECK((answers(a, "who") == std::pair(std::string("b"), Ended::deadline)));
    CHECK(network.now() == 1s + 2ms + 2ms + 1s);  // simulated
}

TEST_CASE("what is published comes without answers, and what a handler throws is an answer") {
    const LocalNetwork network;
    const Local a = network.node("a"), b = network.node("b");
    std::string heard;
    const auto served = b.serve("news", [&](const Frame& news) {
        heard.append(news.payload.view());
        if (news.header.kind == "QUERY") throw retort::DataError("not\ntoday");
        return std::vector<Frame>{};
    });
    a.publish("news", frame("HELLO", "1"));
    a.publish("news", frame("HELLO", "2"));
    CHECK(heard.empty());
    network.settle();
    CHECK(heard == "12");
    CHECK((answers(a, "news", 1) == std::pair(std::string("not?today"), Ended::enough)));
    a.ask("news", frame("HELLO"), 1s, [&](const Frame& answer) {
        CHECK(answer.header.kind == "DONE");  // nobody waits in vain
        return false;
    });
    a.publish("nobody", frame("HELLO"));
}

TEST_CASE("handlers ask, and time passes for all") {
    const LocalNetwork network;
    const Local a = network.node("a"), b = network.node("b"), c = network.node("c");
    const auto of_c = c.serve("c", echo("c"));
    const auto of_b = b.serve("b", [&](const Frame& asked) {
        const auto [first, ended] = answers(b, "c", 1);
        CHECK(answers(b, "silence").second == Ended::nobody);
        b.pause(10ms);
        return std::vector{Frame{{.kind = "ECHO", .id = asked.header.id, .sender = "b" + first}, {}}};
    });
    CHECK((answers(a, "b") == std::pair(std::string("bc"), Ended::deadline)));
    // An answer that comes too late does not come.
    CHECK((answers(a, "b", 1, 5ms) == std::pair(std::string(), Ended::deadline)));
    CHECK((answers(a, "b", 1) == std::pair(std::string("bc"), Ended::enough)));
}

TEST_CASE("limits, and what is counted") {
    const LocalNetwork network({.frame = 8192});
    const Local a = network.node("a"), b = network.node("b");
    CHECK(a.limits().frame == 8192);
    const auto served = b.serve(
        "large", [](const Frame&) { return std::vector{Frame{{.kind = "ECHO"}, std::string(9000, 'x')}}; });
    CHECK(holds(words_of<TransportError>([&] { a.publish("large", frame("A", std::string(8192, 'x'))); }),
                "large: expected a frame of at most 8192 bytes, found 82"));
    CHECK(holds(answers(a, "large", 1).first, "answer: expected a frame of at most 8192 bytes, found 90"));
    CHECK(a.traffic().frames_sent == 1);
    CHECK(a.traffic().frames_received == 1);
    CHECK(a.traffic().bytes_sent == b.traffic().bytes_received);
    CHECK(network.traffic().bytes_sent == a.traffic().bytes_sent + b.traffic().bytes_sent);
    CHECK(words_of<ConfigError>([&] { a.publish("a..b", frame("A")); }) ==
          "transport: expected a subject of words of letters, digits, - and _ with dots between them (at "
          "most 128 "
          "bytes), found \"a..b\"");
    CHECK_THROWS_AS(a.serve("a.*", echo("a")), ConfigError);
    CHECK_THROWS_AS(a.serve("", echo("a")), ConfigError);
    CHECK(words_of<ConfigError>([&] { network.node("a"); }) ==
          "Local: expected a name that no other node has, found a");
    CHECK_THROWS_AS(network.node("a.b"), ConfigError);
    CHECK_THROWS_AS(LocalNetwork({.faults = {.drop = 2}}), ConfigError);
    CHECK_THROWS_AS(LocalNetwork({.faults = {.longest_delay = 0ms}}), ConfigError);
    CHECK_THROWS_AS(LocalNetwork({.frame = 100}), ConfigError);
    const LocalNetwork narrow({.pending = 2});
    const Local c = narrow.node("c");
    const auto slow = c.serve("c", echo("c"));
    c.publish("c", frame("A"));
    c.publish("c", frame("A"));
    CHECK_THROWS_AS(c.publish("c", frame("A")), TransportError);
}

TEST_CASE("the same seed gives the same faults") {
    const auto story = [](std::uint64_t seed, LocalFaults faults) {
        const LocalNetwork network({.seed = seed, .faults = faults});
        const Local a = network.node("a"), b = network.node("b");
        std::string heard;
        const auto served = b.serve("b", [&](const Frame& asked) {
            heard.append(asked.payload.view());
            return std::vector<Frame>{};
        });
        for (char each = 'a'; each <= 'z'; ++each) {
            a.publish("b", frame("A", std::string(1, each)));
            a.pause(1ms);
        }
        network.settle();
        return heard;
    };
    const std::string all = "abcdefghijklmnopqrstuvwxyz";
    CHECK(story(1, {}) == all);
    const LocalFaults everything{.drop = 0.2, .duplicate = 0.2, .delay = 0.2, .reorder = 0.2};
    CHECK(story(1, everything) == story(1, everything));
    CHECK(story(1, everything) != story(2, everything));
    const auto sorted = [](std::string text) {
        std::sort(text.begin(), text.end());
        return text;
    };
    const std::string dropped = story(3, {.drop = 0.5});
    CHECK(dropped.size() < 20);
    CHECK(dropped.size() > 6);
    CHECK(sorted(dropped) == dropped);
    const std::string twice = story(3, {.duplicate = 0.5});
    CHECK(twice.size() > 32);
    CHECK(twice.size() < 46);
    for (const LocalFaults& late : {LocalFaults{.delay = 0.5}, LocalFaults{.reorder = 0.3}}) {
        CHECK(story(3, late) != all);
        CHECK(sorted(story(3, late)) == all);
    }
    CHECK(story(3, {.drop = 1, .most = 4}) == all.substr(4));
}

TEST_CASE("a node dies at the event that is told, and another takes its name") {
    // Events: the question is sent, and received; the answer is sent, and received.
    const auto ask = [](std::int64_t event, const std::string& who) -> std::string {
        const LocalNetwork network;
        network.kill_at(event, who);
        const Local a = network.node("a"), b = network.node("b");
        bool ran = false;
        const auto served = b.serve("b", [&](const Frame&) {
            ran = true;
            return std::vector{frame("ECHO")};
        });
        try {
            const auto [text, ended] = answers(a, "b", 1);
            return std::string(ended == Ended::enough   ? "answered"
                               : ended == Ended::nobody ? "nobody"
                                                        : "silence") +
                   (ran ? ", ran" : "") + (b.alive() ? "" : ", b died");
        } catch (const Death& death) {
            return death.node + " died" + (ran ? ", ran" : "");
        }
    };
    CHECK(ask(1, "a") == "a died");
    CHECK(ask(1, "b") == "nobody, b died");
    CHECK(ask(2, "b") == "silence, b died");
    CHECK(ask(3, "b") == "silence, ran, b died");
    CHECK(ask(4, "b") == "answered, ran, b died");
    CHECK(ask(4, "a") == "a died, ran");
    CHECK(ask(5, "a") == "answered, ran");

    const LocalNetwork network;
    const Local a = network.node("a"), before = network.node("b");
    const auto served = before.serve("b", echo("before"));
    CHECK(network.kill("b"));
    CHECK_FALSE(network.kill("b"));
    CHECK_THROWS_AS(before.publish("b", frame("A")), Death);
    CHECK_THROWS_AS(before.serve("b", echo("b")), Death);
    CHECK_THROWS_AS(before.pause(1ms), Death);
    const Local after = network.node("b");
    const auto again = after.serve("b", echo("after"));
    CHECK((answers(a, "b") == std::pair(std::string("after"), Ended::deadline)));
}

TEST_CASE("a node that is killed while it answers is silent") {
    const LocalNetwork network;
    const Local a = network.node("a"), b = network.node("b");
    bool went_on = false;
    const auto served = b.serve("b", [&](const Frame&) {
        network.kill("b");
        b.pause(1ms);  // throws
        went_on = true;
        return std::vector{frame("ECHO")};
    });
    CHECK((answers(a, "b") == std::pair(std::string(), Ended::deadline)));
    CHECK_FALSE(went_on);
    int died = 0;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const LocalNetwork mortal({.seed = seed, .faults = {.death = 0.5}});
        const Local c = mortal.node("c"), d = mortal.node("d");
        const auto served_by_d = d.serve("d", echo("d"));
        died += answers(c, "d", 1).second == Ended::deadline ? 1 : 0;
    }
    CHECK(died > 8);
    CHECK(died < 32);
}

TEST_CASE("several threads ask at once, and wait for each other's handlers") {
    const LocalNetwork network;
    const Local a = network.node("a"), b = network.node("b");
    const auto inner = a.serve("inner", echo("inner"));
    const auto served = b.serve("outer", [&](const Frame&) {
        // Another thread asks for this one.
        std::string text;
        std::thread([&] { text = answers(b, "inner", 1).first; }).join();
        return std::vector{Frame{{.kind = "ECHO", .sender = text}, {}}};
    });
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int j = 0; j < 10; ++j) {
                right +=
                    answers(a, "outer", 1, 60s) == std::pair(std::string("inner"), Ended::enough) ? 1 : 0;
            }
        });
    }
    for (std::thread& each : threads) each.join();
    CHECK(right == 40);
}

}  // namespace local_test
