// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teachers that are served elsewhere.
#include <retort_test.hpp>
#include <small_networks.hpp>
#include <transport_support.hpp>

#include <retort/data/loader.hpp>
#include <retort/data/map.hpp>
#include <retort/data/prefetch.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim/sgd.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/teacher/frozen.hpp>
#include <retort/teacher/remote.hpp>
#include <retort/teacher/serve_teacher.hpp>
#include <retort/trainer.hpp>
#include <retort/transport/local.hpp>

namespace remote_test {

using namespace retort_test;
using namespace std::chrono_literals;
using retort::ConfigError;
using retort::Frozen;
using retort::Remote;
using retort::RemoteOptions;
using retort::serve_teacher;
using retort::TransportError;
using retort::transport::Local;
using retort::transport::LocalNetwork;
using retort::transport::Message;
using retort::transport::Messenger;
using Reason = TransportError::Reason;

namespace {

Perceptron perceptron(std::uint64_t seed) {
    torch::manual_seed(seed);
    return Perceptron();
}
RemoteOptions quick() { return {.request = {.within = 1s, .attempts = 2}}; }
/// Outputs that have no logits.
struct Bare {
    at::Tensor body;
};
struct Oracle {
    Bare operator()(const at::Tensor& input) const { return {input.mul(2)}; }
};

}  // namespace

TEST_CASE("a served teacher gives what it gives at home, bit for bit") {
    const LocalNetwork network;
    torch::manual_seed(3);
    ConvNet teacher(6);
    const auto before = state(*teacher);
    const auto served = serve_teacher(network.node("teacher"), "retort.teacher", Frozen{teacher}, {},
                                      retort::tap<&ConvOutputs::late>);
    const Remote remote{network.node("student"), "retort.teacher"};
    CHECK(remote.model() == served.model());
    CHECK(remote.identity() == retort::detail::hash_of_modules({teacher.get()}));
    const auto inputs = torch::rand({5, 1, 8, 8});
    const auto outputs = remote(inputs);
    const auto expected = Frozen{teacher}(inputs);
    CHECK(same(outputs.logits, expected.logits));
    CHECK(same(retort::tap<"late">(outputs), expected.late));
    CHECK(outputs.size() == 2);
    CHECK_FALSE(outputs.logits.requires_grad());
    CHECK(same(state(*teacher), before));
    // What is asked twice is answered from memory.
    CHECK(same(remote(inputs).logits, expected.logits));
    CHECK(served.batches() == 1);
    CHECK(remote.asked() == 2);
    // One sample, and none.
    CHECK(same(remote(inputs.narrow(0, 2, 1)).logits, Frozen{teacher}(inputs.narrow(0, 2, 1)).logits));
    CHECK(remote(inputs.narrow(0, 0, 0)).logits.size(0) == 0);
    CHECK_THROWS_AS(remote(torch::tensor(1.0)), retort::ShapeError);
}

TEST_CASE("outputs that are prepared are there in the step") {
    const LocalNetwork network;
    Perceptron teacher = perceptron(1);
    const auto served = serve_teacher(network.node("teacher"), "t", Frozen{teacher});
    RemoteOptions options;
    options.prepared = 2;
    const Remote remote{network.node("student"), "t", options};
    const auto inputs = torch::randn({4, 3, 4}).unbind();
    remote.prepare(inputs[0]);
    remote.prepare(inputs[0]);
    remote.prepare(inputs[1]);
    CHECK(remote.asked() == 2);
    CHECK(same(remote(inputs[1]).logits, Frozen{teacher}(inputs[1])));
    CHECK(same(remote(inputs[0]).logits, Frozen{teacher}(inputs[0])));
    CHECK(remote.found() == 2);
    CHECK(remote.asked() == 2);
    for (const auto& each : inputs) remote.prepare(each);
    remote(inputs[0]);  // no longer kept
    CHECK(remote.found() == 2);
    remote(inputs[3]);
    CHECK(remote.found() == 3);
    CHECK_THROWS_AS(Remote(network.node("other"), "t", {.prepared = 0}), ConfigError);
}

TEST_CASE("training with a served teacher is training with it at home, and resumes with the same one only") {
    const TemporaryDirectory directory;
    const LocalNetwork network;
    Perceptron teacher = perceptron(1), other = perceptron(2);
    const auto served = serve_teacher(network.node("teacher"), "t", Frozen{teacher});
    const auto served_other = serve_teacher(network.node("other"), "o", Frozen{other});
    const retort::data::Loader loader{
        retort::data::Dataset{torch::randn({20, 4}), torch::randint(0, 3, {20}), 3},
        {.batch_size = 6, .seed = 3}};
    const auto trainer_with = [](auto policy, Perceptron& student) {
        return retort::Trainer{student, policy, retort::Knowledge{retort::SoftTarget{.temperature = 2}},
                               retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.1, .momentum = 0.9}};
    };
    Perceptron at_home = perceptron(5), away = perceptron(5);
    trainer_with(Frozen{teacher}, at_home).fit(loader, {.epochs = 3});
    const Remote remote{network.node("student"), "t"};
    auto trainer = trainer_with(remote, away);
    trainer.fit(
        [&](std::int64_t epoch) {
            return loader.epoch(epoch) | retort::data::map(remote.ahead()) |
                   retort::data::prefetch({.workers = 2, .depth = 2});
        },
        {.epochs = 3});
    CHECK(same(state(*away), state(*at_home)));
    CHECK(remote.found() == 12);
    CHECK(remote.asked() == 12);

    trainer.save(directory / "run");
    Perceptron again = perceptron(6);
    auto same_teacher = trainer_with(Remote{network.node("again"), "t"}, again);
    same_teacher.resume(directory / "run");
    auto other_teacher = trainer_with(Remote{network.node("wrong"), "o"}, again);
    CHECK(holds(words_of<retort::CheckpointError>([&] { other_teacher.resume(directory / "run"); }),
                "hash of the served teacher"));
}

TEST_CASE("outputs of a served teacher can be cached") {
    const TemporaryDirectory directory;
    const LocalNetwork network;
    Perceptron teacher = perceptron(1);
    const auto served = serve_teacher(network.node("teacher"), "t", Frozen{teacher});
    const Remote remote{network.node("student"), "t"};
    const auto inputs = torch::randn({6, 4});
    const auto expected = Frozen{teacher}(inputs);
    for (int i = 0; i < 2; ++i) {
        const retort::Cached cached{remote, {.directory = directory / "store"}, retort::tap<"logits">};
        CHECK(same(cached(inputs.narrow(0, 0, 3)).logits, expected.narrow(0, 0, 3)));
        CHECK(same(cached(inputs.narrow(0, 0, 3)).logits, expected.narrow(0, 0, 3)));
        CHECK(cached.found() == 3);
    }
    // A teacher at home is identified by its modules.
    const retort::Cached at_home{Frozen{teacher}, {.directory = directory / "home"}};
    CHECK(same(at_home(inputs), expected));
    // The store is this teacher's.
    Perceptron other = perceptron(2);
    const auto served_other = serve_teacher(network.node("other"), "o", Frozen{other});
    const retort::Cached wrong{
        Remote{network.node("s"), "o"}, {.directory = directory / "store"}, retort::tap<"logits">};
    CHECK(holds(words_of<retort::DataError>([&] { wrong(inputs); }), "not the outputs of this teacher"));
}

TEST_CASE("a server that is gone is waited for, and one with other weights is refused") {
    const LocalNetwork network;
    Perceptron teacher = perceptron(1), other = perceptron(2);
    auto served = std::optional(serve_teacher(network.node("teacher"), "t", Frozen{teacher}));
    const Remote remote{network.node("student"), "t", quick()};
    const auto inputs = torch::randn({4, 2, 4}).unbind();
    remote(inputs[0]);
    served.reset();
    CHECK(reason_of([&] { remote(inputs[1]); }) == Reason::nobody);
    served.emplace(serve_teacher(network.node("again"), "t", Frozen{teacher}));
    CHECK(same(remote(inputs[1]).logits, Frozen{teacher}(inputs[1])));
    served.emplace(serve_teacher(network.node("changed"), "t", Frozen{other}));
    CHECK(holds(words_of<TransportError>([&] { remote(inputs[2]); }), "Remote: t: expected the teacher ",
                ": was it restarted with other weights?"));
    CHECK(reason_of([&] { Remote(network.node("a"), "nowhere", quick()); }) == Reason::nobody);
    RemoteOptions expecting = quick();
    expecting.model = remote.model();
    CHECK(reason_of([&] { Remote(network.node("b"), "t", expecting); }) == Reason::unusable);
}

TEST_CASE("what a teacher cannot take is said to the student") {
    const LocalNetwork network;
    Perceptron teacher = perceptron(1);
    retort::ServeTeacherOptions few;
    few.rows = 8;
    const auto served = serve_teacher(network.node("teacher"), "t", Frozen{teacher}, few);
    const Remote remote{network.node("student"), "t", quick()};
    CHECK(holds(words_of<TransportError>([&] { remote(torch::randn({3, 5})); }),
                "t: expected an answer to TEACH, found an error: a teacher: ", "shapes"));
    CHECK(holds(words_of<TransportError>([&] { remote(torch::randn({9, 4})); }),
                "expected at most 8 rows, found"));
    const Messenger other{network.node("other")};
    CHECK(holds(words_of<TransportError>([&] { other.request("t", Message{.kind = "HELLO"}); }),
                "expected DESCRIBE or TEACH, found HELLO"));
    // Teachers without modules have to be named; outputs without logits are selected by taps.
    const Local node = network.node("oracle");
    CHECK(holds(words_of<ConfigError>([&] {
                    static_cast<void>(serve_teacher(node, "o", Oracle{}, {}, retort::tap<&Bare::body>));
                }),
                "has no modules to hash: expected ServeTeacherOptions::model"));
    CHECK_THROWS_AS(serve_teacher(node, "o", Frozen{teacher}, {.rows = 0}), ConfigError);
    const auto oracle = serve_teacher(node, "o", Oracle{}, {.model = "oracle"}, retort::tap<&Bare::body>);
    RemoteOptions body;
    body.logits = "body";
    CHECK(same(Remote(network.node("c"), "o", body)(torch::ones({2, 2})).logits, 2 * torch::ones({2, 2})));
    const Remote without{network.node("d"), "o"};
    CHECK(words_of<ConfigError>([&] { without(torch::ones({2, 2})); }) ==
          "Remote: o: expected an output \"logits\" (RemoteOptions::logits), found: body");
}

TEST_CASE("answers that cannot be used are refused") {
    const LocalNetwork network;
    std::function<void(Message&)> change = [](Message&) {};
    const Messenger liar{network.node("liar")};
    const auto served = liar.serve("t", [&](const Message& asked) {
        Message answer{.kind = "TAUGHT", .model = "honest"};
        if (asked.kind == "DESCRIBE") return answer;
        answer.fields["key"] = retort::detail::remote::key_text(asked.id);
        answer.tensors.insert("logits", asked.tensor("input").mul(2));
        change(answer);
        return answer;
    });
    const Remote remote{network.node("student"), "t", quick()};
    float next = 0;
    const auto answer = [&](std::function<void(Message&)> how) {
        change = std::move(how);
        // No input twice, as the liar remembers its answers.
        return words_of<TransportError>([&] { remote(torch::full({3, 2}, ++next)); });
    };
    const auto replaced = [](const at::Tensor& tensor) {
        return [tensor](Message& message) { message.tensors["logits"] = tensor; };
    };
    CHECK(answer([](Message&) {}).empty());
    CHECK(holds(answer([](Message& message) { message.model = "other"; }),
                "expected the teacher honest, found other"));
    CHECK(
        holds(answer([](Message& message) { message.fields["key"] = "0"; }), "found those for another one"));
    CHECK(holds(answer([](Message& message) { message.fields.clear(); }),
                "expected a text \"key\", found none"));
    CHECK(holds(answer([](Message& message) { message.kind = "WHAT"; }), "expected TAUGHT, found WHAT"));
    CHECK(holds(answer(replaced(torch::full({3, 2}, NAN))),
                "output logits: expected finite numbers, found others"));
    CHECK(holds(answer(replaced(torch::ones({2, 2}))), "output logits: expected 3 rows, found "));
    CHECK(holds(answer(replaced(torch::ones({}))), "output logits: expected 3 rows, found "));
    CHECK(holds(answer(replaced(torch::ones({3, 7}))),
                "expected the outputs logits Float [2] as before, found logits Float [7]"));
    CHECK(holds(answer(replaced(torch::ones({3, 2}, torch::kDouble))), "found logits Double [2]"));
    CHECK(holds(answer([](Message& message) { message.tensors.insert("more", torch::ones({3, 1})); }),
                "more Float [1]"));
    CHECK(answer([](Message&) {}).empty());
}

}  // namespace remote_test
