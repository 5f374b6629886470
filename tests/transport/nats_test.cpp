// SPDX-License-Identifier: BSL-1.0
/// \file
/// The transport over NATS, with servers of the tests' own.
#include <retort_test.hpp>
#include <small_networks.hpp>
#include <transport_support.hpp>

#include <nats_server.hpp>

#include <thread>

#include <retort/transport/messenger.hpp>
#include <retort/transport/nats.hpp>

namespace nats_test {

using namespace retort_test;
using namespace retort::transport;
using namespace std::chrono_literals;
using retort::ConfigError;
using retort::TransportError;
using Reason = TransportError::Reason;

namespace {

/// Says so where a test cannot be made.
bool possible(const char* program = "nats-server") {
    if (!find_program(program).empty()) return true;
    WARN("skipped: there is no " << program << " here");
    return false;
}
Frame frame(const std::string& kind, const std::string& payload = {}) { return {{.kind = kind}, payload}; }
Handler echo(const std::string& name) {
    return [name](const Frame& asked) {
        return std::vector{Frame{{.kind = "ECHO", .id = asked.header.id, .sender = name}, asked.payload}};
    };
}
/// Runs a shell's words; true if they succeed.
bool shell(const std::string& words) { return std::system((words + " >/dev/null 2>&1").c_str()) == 0; }

}  // namespace

TEST_CASE("questions and answers over a server") {
    if (!possible()) return;
    const TemporaryDirectory directory;
    const NatsServer server(directory.path(), "max_payload: 65536");
    const Nats a{{.servers = {server.url()}}}, b{{.servers = {server.url()}}}, c{{.servers = {server.url()}}};
    CHECK(a.limits().frame == 65536);
    CHECK(a.ask("who", frame("QUERY"), 5s, [](const Frame&) { return false; }) == Ended::nobody);
    auto of_b = b.serve("who", echo("b"));
    const auto of_c = c.serve("who", echo("c"));
    std::set<std::string> senders;
    CHECK(a.ask("who", frame("QUERY", "x"), 30s, [&](const Frame& answer) {
        CHECK(answer.payload.view() == "x");
        senders.insert(answer.header.sender);
        return senders.size() < 2;
    }) == Ended::enough);
    CHECK(senders == std::set<std::string>{"b", "c"});
    of_b.end();
    CHECK(a.ask("who", frame("QUERY"), 30s, [&](const Frame& answer) {
        CHECK(answer.header.sender == "c");
        return false;
    }) == Ended::enough);
    CHECK(a.traffic().frames_sent == 3);
    CHECK(a.traffic().frames_received == 3);

    // Published, and errors as answers.
    std::atomic<int> heard = 0;
    const auto news = c.serve("news", [&](const Frame&) -> std::vector<Frame> {
        ++heard;
        throw retort::DataError("not today");
    });
    a.publish("news", frame("HELLO"));
    CHECK(a.ask("news", frame("QUERY"), 30s, [&](const Frame& answer) {
        CHECK(error_text(answer) == "not today");
        return false;
    }) == Ended::enough);
    CHECK(heard == 2);
    CHECK(reason_of([&] { a.publish("news", frame("A", std::string(65536, 'x'))); }) == Reason::too_large);
    const auto large =
        b.serve("large", [](const Frame&) { return std::vector{frame("A", std::string(65536, 'x'))}; });
    a.ask("large", frame("QUERY"), 30s, [&](const Frame& answer) {
        CHECK(holds(error_text(answer), "expected a frame of at most 65536 bytes"));
        return false;
    });
    CHECK_THROWS_AS(a.publish("a b", frame("A")), ConfigError);
}

TEST_CASE("bytes that are no frame are refused, and do no harm") {
    if (!possible()) return;
    const TemporaryDirectory directory;
    const NatsServer server(directory.path());
    const Nats b{{.servers = {server.url()}}};
    const auto served = b.serve("b", echo("b"));
    natsConnection* connection = nullptr;
    REQUIRE(natsConnection_ConnectTo(&connection, server.url().c_str()) == NATS_OK);
    for (const std::string& bytes : {std::string(), std::string("hello"), "RTRT" + std::string(30, '\xff')}) {
        natsMsg* answer = nullptr;
        REQUIRE(natsConnection_Request(&answer, connection, "b", bytes.data(), static_cast<int>(bytes.size()),
                                       30'000) == NATS_OK);
        const Frame error = decode(
            std::string(natsMsg_GetData(answer), static_cast<std::size_t>(natsMsg_GetDataLength(answer))));
        CHECK(error.header.kind == "ERROR");
        CHECK(holds(error_text(error), "frame: "));
        natsMsg_Destroy(answer);
    }
    natsConnection_Destroy(connection);
}

TEST_CASE("messages of any size, over a server that is restarted") {
    if (!possible()) return;
    const TemporaryDirectory directory;
    NatsServer server(directory.path());
    const auto connected = [&](const std::string& name) {
        return Messenger{Nats{{.servers = {server.url()}}}, {.name = name}};
    };
    const Messenger a = connected("a"), b = connected("b");
    std::atomic<int> worked = 0;
    const auto served = b.serve("b", [&](const Frame& asked) {
        ++worked;
        return Frame{{.kind = "ECHO"}, asked.payload};
    });
    const std::string content = pattern(5'000'000);
    CHECK(a.request("b", frame("LESSON", content), {.within = 60s}).payload.view() == content);
    CHECK(worked == 1);
    server.stop();
    std::thread later([&] { server.start(); });
    const Frame answer = a.request("b", frame("LESSON", content), {.within = 120s, .attempts = 120});
    later.join();
    CHECK(answer.payload.view() == content);
    CHECK(worked == 2);
}

TEST_CASE("who may do what is up to the server") {
    if (!possible()) return;
    const TemporaryDirectory directory;
    const NatsServer server(directory.path(), R"(authorization { users = [
        {user: teacher, password: t, permissions: {publish: "_INBOX.>", subscribe: "lesson"}}
        {user: student, password: s, permissions: {publish: "lesson", subscribe: "_INBOX.>"}} ] })");
    const auto as = [&](const std::string& user, const std::string& password) {
        return Nats{{.servers = {server.url()}, .user = user, .password = password}};
    };
    CHECK(reason_of([&] { as("student", "wrong"); }) == Reason::refused);
    CHECK(reason_of([&] { as("", ""); }) == Reason::refused);
    const Nats teacher = as("teacher", "t"), student = as("student", "s");
    const auto served = teacher.serve("lesson", echo("teacher"));
    CHECK(student.ask("lesson", frame("QUERY"), 30s, [](const Frame&) { return false; }) == Ended::enough);
    CHECK(reason_of([&] { static_cast<void>(student.serve("lesson", echo("student"))); }) == Reason::refused);
    CHECK(reason_of([&] { student.publish("grades", frame("A")); }) == Reason::refused);
    CHECK(holds(words_of<TransportError>(
                    [&] { student.ask("grades", frame("A"), 30s, [](const Frame&) { return false; }); }),
                "Permissions Violation for Publish to \"grades\""));
    // The connection is still good.
    CHECK(student.ask("lesson", frame("QUERY"), 30s, [](const Frame&) { return false; }) == Ended::enough);
}

TEST_CASE("TLS with certificates on both sides") {
    if (!possible() || !possible("openssl")) return;
    const TemporaryDirectory directory;
    const std::string folder = directory.path().string() + '/';
    const auto authority = [&](const std::string& name) {
        return shell(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=" +
            name + " -keyout " + folder + name + "-key.pem -out " + folder + name + ".pem");
    };
    const auto certificate = [&](const std::string& name, const std::string& by) {
        std::ofstream(folder + name + ".ext") << "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
        return shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name +
                     " -keyout " + folder + name + "-key.pem -out " + folder + name + ".csr") &&
               shell("openssl x509 -req -days 2 -in " + folder + name + ".csr -CA " + folder + by +
                     ".pem -CAkey " + folder + by + "-key.pem -CAcreateserial -extfile " + folder + name +
                     ".ext -out " + folder + name + ".pem");
    };
    REQUIRE(authority("ca"));
    REQUIRE(authority("other"));
    REQUIRE(certificate("server", "ca"));
    REQUIRE(certificate("node", "ca"));
    REQUIRE(certificate("stranger", "other"));
    const NatsServer server(directory.path(), "tls { cert_file: \"" + folder + "server.pem\", key_file: \"" +
                                                  folder + "server-key.pem\", ca_file: \"" + folder +
                                                  "ca.pem\", verify: true }");
    const auto with = [&](const std::string& name, const std::string& trusted = "ca",
                          const std::string& host = {}) {
        NatsOptions options{.servers = {server.url("tls")}};
        options.tls.authority = folder + trusted + ".pem";
        options.tls.host_name = host;
        if (!name.empty()) {
            options.tls.certificate = folder + name + ".pem";
            options.tls.key = folder + name + "-key.pem";
        }
        return Nats{options};
    };
    const Nats a = with("node"), b = with("node", "ca", "localhost");
    const auto served = b.serve("b", echo("b"));
    CHECK(a.ask("b", frame("QUERY"), 30s, [](const Frame&) { return false; }) == Ended::enough);
    CHECK_THROWS_AS(with("stranger"), TransportError);
    CHECK_THROWS_AS(with(""), TransportError);
    CHECK_THROWS_AS(with("node", "other"), TransportError);
    CHECK_THROWS_AS(with("node", "ca", "example.org"), TransportError);
    CHECK_THROWS_AS(Nats({.servers = {server.url()}}), TransportError);
}

TEST_CASE("no server, and options that cannot work") {
    CHECK(holds(words_of<TransportError>([] { Nats{{.servers = {"nats://127.0.0.1:1"}}}; }),
                "NATS: cannot connect to nats://127.0.0.1:1: "));
    CHECK_THROWS_AS(Nats({.servers = {}}), ConfigError);
    CHECK_THROWS_AS(Nats({.timeout = 0ms}), ConfigError);
    NatsOptions half;
    half.tls.certificate = "a.pem";
    CHECK(words_of<ConfigError>([&] { Nats{half}; }) ==
          "Nats: expected a certificate and its key, found one of them");
    half.tls.key = "no-such-file.pem";
    CHECK(holds(words_of<TransportError>([&] { Nats{half}; }), "NATS: a.pem: "));
}

}  // namespace nats_test
