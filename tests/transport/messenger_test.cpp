// SPDX-License-Identifier: BSL-1.0
/// \file
/// Messages of any size, whatever becomes of their frames.
#include <retort_test.hpp>
#include <small_networks.hpp>
#include <transport_support.hpp>

#include <retort/transport/local.hpp>
#include <retort/transport/messenger.hpp>

namespace messenger_test {

using namespace retort_test;
using namespace retort::transport;
using namespace std::chrono_literals;
using retort::ConfigError;
using retort::TransportError;
using Reason = TransportError::Reason;

namespace {

Frame sized(std::size_t size) { return {{.kind = "LESSON"}, pattern(size)}; }
MessengerOptions options(const std::string& name) {
    return {.name = name, .run = "test", .chunk = 2048, .window = 3, .seed = 5};
}

}  // namespace

TEST_CASE("messages of any size, there and back") {
    const LocalNetwork network;
    const Messenger a{network.node("a"), options("a")}, b{network.node("b"), options("b")};
    const auto served = b.serve("reverse", [](const Frame& asked) {
        std::string content(asked.payload.view());
        std::reverse(content.begin(), content.end());
        return Frame{{.kind = "REVERSED", .model = "m"}, std::move(content)};
    });
    for (const std::size_t size : {0U, 1U, 2047U, 2048U, 2049U, 4096U, 20'000U, 123'457U}) {
        const Frame answer = a.request("reverse", sized(size));
        std::string expected = pattern(size);
        std::reverse(expected.begin(), expected.end());
        CHECK(answer.payload.view() == expected);
        CHECK(answer.header.kind == "REVERSED");
        CHECK(answer.header.sender == "b");
        CHECK(answer.header.model == "m");
        CHECK(answer.header.chunks == 1);
    }
}

TEST_CASE("tensors are asked for and answered") {
    const LocalNetwork network;
    const Messenger a{network.node("a"), options("a")}, b{network.node("b"), options("b")};
    const auto served = b.serve("double", [](const Message& asked) {
        Message answer{.kind = "ANSWER", .fields = asked.fields};
        answer.tensors.insert("y", 2 * asked.tensor("x"));
        return answer;
    });
    Message message{.kind = "QUERY", .fields = {{"task", "digits"}}};
    message.tensors.insert("x", torch::randn({64, 100}));
    const Message answer = a.request("double", message);
    CHECK(same(answer.tensor("y"), 2 * message.tensor("x")));
    CHECK(answer.field("task") == "digits");
    CHECK(words_of<TransportError>([&] { a.request("double", {.kind = "QUERY"}); }) ==
          "double: expected an answer to QUERY, found an error: QUERY of a: expected a tensor \"x\", found "
          "none");
}

TEST_CASE("under every fault a message is worked on once, and answered with the same bits") {
    std::int64_t faults = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        const LocalNetwork network(
            {.seed = seed,
             .faults = {.drop = 0.15, .duplicate = 0.15, .delay = 0.2, .reorder = 0.2, .most = 60}});
        const Messenger a{network.node("a"), options("a")}, b{network.node("b"), options("b")};
        int worked = 0;
        const auto served = b.serve("b", [&](const Frame& asked) {
            ++worked;
            return Frame{{.kind = "ECHO"}, asked.payload};
        });
        for (int i = 1; i <= 3; ++i) {
            const Frame answer = a.request("b", sized(9000), {.within = 600s, .attempts = 200});
            CHECK(answer.payload.view() == pattern(9000));
            CHECK(worked == i);
        }
        faults += network.faults();
    }
    CHECK(faults > 60 * 20);
}

TEST_CASE("a server that dies and comes again is asked again") {
    for (std::int64_t event = 1; event < 40; ++event) {
        const LocalNetwork network;
        const Messenger a{network.node("a"), options("a")};
        const auto handler = [](const Frame& asked) { return Frame{{.kind = "ECHO"}, asked.payload}; };
        std::optional<Messenger<Local>> b{std::in_place, network.node("b"), options("b")};
        auto served = b->serve("b", handler);
        network.kill_at(event, "b");
        std::string found;
        for (int run = 0; run < 2 && found.empty(); ++run) {
            try {
                found = a.request("b", sized(9000), {.within = 8s, .attempts = 4}).payload.view();
            } catch (const TransportError& error) {
                CHECK((error.reason == Reason::timed_out || error.reason == Reason::nobody));
                served.end();
                b.reset();
                b.emplace(network.node("b"), options("b"));
                served = b->serve("b", handler);
            }
        }
        CHECK(found == pattern(9000));
    }
}

TEST_CASE("what cannot be sent or received is refused before it costs memory") {
    const LocalNetwork network;
    MessengerOptions small = options("b");
    small.largest = 10'000;
    const Messenger a{network.node("a"), options("a")}, b{network.node("b"), small};
    const auto served = b.serve("b", [](const Frame& asked) {
        return asked.header.kind == "LARGE" ? sized(10'001) : Frame{{.kind = "ECHO"}, asked.payload};
    });
    CHECK(holds(words_of<TransportError>([&] { a.request("b", sized(10'001)); }),
                "LESSON of a: expected at most 10000 bytes (MessengerOptions::largest), found 10001"));
    CHECK(holds(words_of<TransportError>([&] { a.request("b", Frame{{.kind = "LARGE"}, {}}); }),
                "found an error: LESSON: expected at most 10000 bytes"));
    CHECK(reason_of([&] { b.request("b", sized(10'001)); }) == Reason::too_large);

    // One that lies about itself.
    const Local liar = network.node("liar");
    const auto told = [&](Header header, std::size_t bytes) {
        std::string text;
        header.kind = "LESSON";
        header.run = "test";
        liar.ask("b", {header, std::string(bytes, 'x')}, 5s, [&](const Frame& answer) {
            text = error_text(answer);
            return false;
        });
        return text;
    };
    CHECK(holds(told({.chunks = std::uint64_t{1} << 59, .size = std::uint64_t{1} << 60, .inbox = "x"}, 2048),
                "at most 10000 bytes (MessengerOptions::largest), found 1152921504606846976"));
    CHECK(holds(told({.chunks = 5000, .size = 10'000, .inbox = "x"}, 2), "chunks of at least 1024 bytes"));
    CHECK(holds(told({.chunks = 4, .size = 10'000, .inbox = "x"}, 2048), "that make up the message"));
    CHECK(holds(told({.chunk = 1, .chunks = 5, .size = 10'000, .inbox = "x"}, 2048), "its first chunk"));
    CHECK(holds(told({.chunks = 5, .size = 10'000, .inbox = "not a subject"}, 2048),
                "an inbox, found \"not a"));
    CHECK(holds(told({.size = 100}, 99), "100 bytes, found 99"));
    CHECK(holds(told({.chunks = 5, .size = 10'000, .inbox = "nowhere"}, 2048), "nobody serves this subject"));
    const auto mute =
        liar.serve("mute", [](const Frame&) { return std::vector<Frame>{{{.kind = "WHAT"}, {}}}; });
    CHECK(holds(told({.id = {{1, 1}}, .chunks = 5, .size = 10'000, .inbox = "mute"}, 2048),
                "within 1000 ms, found none"));
    CHECK(reason_of([&] { a.request("nowhere", sized(1), {.within = 100ms}); }) == Reason::nobody);
}

TEST_CASE("inboxes answer what they are asked, and nothing else") {
    const LocalNetwork network;
    const Messenger a{network.node("a"), options("a")};
    const Local other = network.node("other");
    const auto asked = [&](const Header& header, const std::string& payload) {
        std::string text;
        other.ask("retort.inbox.a", {header, payload}, 1s, [&](const Frame& answer) {
            text = answer.header.kind + ": " + error_text(answer);
            return false;
        });
        return text;
    };
    CHECK(asked({.kind = "HELLO"}, "") == "ERROR: an inbox: expected PULL, found HELLO");
    CHECK(asked({.kind = "PULL", .held = 1}, "") == "ERROR: this message is no longer held");
    std::string text;
    const auto served = other.serve("take", [&](const Frame& first) {
        Header header{.kind = "PULL", .id = first.header.id, .held = first.header.held};
        text = asked(header, "123");
        std::string number;
        retort::detail::append_number(number, std::uint64_t{5});
        text += asked(header, number);
        header.id = {{9, 9}};
        text += asked(header, number);
        return std::vector{Frame{{.kind = "DONE", .id = first.header.id}, {}}};
    });
    a.request("take", sized(10'000));
    CHECK(text ==
          "ERROR: expected at most 64 numbers of chunks, found 3 bytesERROR: expected chunks below 5, found 5"
          "ERROR: this message is no longer held");
}

TEST_CASE("all who serve are heard once each, whatever their answers are") {
    const LocalNetwork network({.seed = 4, .faults = {.duplicate = 0.5}});
    const Messenger a{network.node("a"), options("a")}, b{network.node("b"), options("b")},
        c{network.node("c"), options("c")};
    MessengerOptions foreign = options("d");
    foreign.run = "other";
    const Messenger d{network.node("d"), foreign};
    const auto large = [](const Message& asked) {
        Message answer{.kind = "OFFER", .fields = asked.fields};
        answer.tensors.insert("y", torch::ones({1000}));
        return answer;
    };
    const auto of_b = b.serve("who", large);
    const auto of_c =
        c.serve("who", [](const Frame&) { return Frame{{.kind = "OFFER"}, std::string("no tensors")}; });
    const auto of_d = d.serve("who", large);
    std::map<std::string, std::string> found;
    const auto ended = a.collect(
        "who", Message{.kind = "QUERY", .fields = {{"probe", "1"}}}, 5s, [&](const Message& answer) {
            CHECK(found.emplace(answer.sender, answer.kind).second);
            if (answer.sender == "d")
                CHECK(answer.field("reason") == "expected the run \"other\", found \"test\"");
            if (answer.sender == "b") CHECK(answer.tensor("y").numel() == 1000);
            return true;
        });
    CHECK(ended == Ended::deadline);
    CHECK(found == std::map<std::string, std::string>{{"b", "OFFER"}, {"c", "ERROR"}, {"d", "ERROR"}});
    int count = 0;
    CHECK(a.collect("who", Message{.kind = "QUERY"}, 5s, [&](const Message&) { return ++count < 2; }) ==
          Ended::enough);
}

TEST_CASE("what is published may be large, too") {
    const LocalNetwork network;
    const Messenger a{network.node("a"), options("a")}, b{network.node("b"), options("b")};
    std::size_t heard = 0;
    const auto served = b.serve("news", [&](const Frame& news) {
        heard += news.payload.size();
        return Frame{};
    });
    a.publish("news", sized(9000));
    network.settle();
    CHECK(heard == 9000);
}

TEST_CASE("memory is bounded: the oldest answers go") {
    const LocalNetwork network;
    MessengerOptions forgetful = options("b");
    forgetful.answers = 2;
    forgetful.memory = 5000;
    const Messenger a{network.node("a"), options("a")}, b{network.node("b"), forgetful};
    int worked = 0;
    const auto served = b.serve("b", [&](const Frame& asked) {
        ++worked;
        return Frame{{.kind = "ECHO"}, asked.payload};
    });
    const auto ask = [&](std::uint64_t id, std::size_t size) {
        Frame frame = sized(size);
        frame.header.id = {{id, 1}};
        CHECK(a.request("b", frame).payload.size() == size);
        return worked;
    };
    CHECK(ask(1, 10) == 1);
    CHECK(ask(2, 10) == 2);
    CHECK(ask(1, 10) == 2);  // known
    CHECK(ask(3, 10) == 3);
    CHECK(ask(1, 10) == 4);      // forgotten
    CHECK(ask(4, 20'000) == 5);  // kept although it is larger than the memory
    CHECK(ask(4, 20'000) == 5);
    CHECK(ask(1, 10) == 6);
}

TEST_CASE("options out of range") {
    const LocalNetwork network;
    const Local node = network.node("a");
    const auto refused = [&](MessengerOptions how) {
        return words_of<ConfigError>([&] { Messenger{node, how}; });
    };
    CHECK(refused({.name = "a.b"}) ==
          "Messenger: expected a name of at most 64 letters, digits, - and _, found \"a.b\"");
    CHECK(refused({.chunk = 1000}) == "Messenger: expected chunks of at least 1024 bytes, found 1000");
    CHECK(refused({.window = 0}) == "Messenger: expected a window of 1 to 64 chunks, found 0");
    CHECK(refused({.answers = 0}) == "Messenger: expected at least 1 answer in memory, found 0");
    CHECK_THROWS_AS(Messenger(node, {.inbox = "a b"}), ConfigError);
    const Messenger a{node};
    CHECK(a.name().size() == 37);
    CHECK(a.options().chunk == (1U << 20U));
    CHECK(words_of<ConfigError>([&] { a.request("b", Frame{{.kind = "A"}, {}}, {.attempts = 0}); }) ==
          "RequestOptions: expected at least 1 attempt, 1 ms for each, and a back_off of at least 1 ms, "
          "found 0 "
          "attempts within 10000 ms, back_off 50 ms");
}

}  // namespace messenger_test
