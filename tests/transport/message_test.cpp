// SPDX-License-Identifier: BSL-1.0
/// \file
/// Messages with tensors, as frames and back.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/transport/message.hpp>

namespace message_test {

using namespace retort_test;
using namespace retort::transport;
using retort::TransportError;

TEST_CASE("a message is a frame with tensors and texts") {
    Message message{.kind = "LABELS", .id = {{1, 2}}, .model = "beef", .fields = {{"task", "digits"}}};
    message.tensors.insert("logits", torch::randn({3, 4}));
    message.tensors.insert("classes", torch::arange(4));
    const Message read = to_message(decode(encode(to_frame(message))));
    CHECK(read.kind == "LABELS");
    CHECK(read.model == "beef");
    CHECK(read.field("task") == "digits");
    CHECK(same(read.tensor("logits"), message.tensor("logits")));
    CHECK(same(read.tensor("classes"), message.tensor("classes")));
    CHECK(words_of<TransportError>([&] { static_cast<void>(read.tensor("x")); }) ==
          "LABELS of : expected a tensor \"x\", found none");
    CHECK(words_of<TransportError>([&] { static_cast<void>(read.field("y")); }) ==
          "LABELS of : expected a text \"y\", found none");
    CHECK(to_frame({.kind = "DONE"}).payload.empty());
    Frame damaged = to_frame(message);
    damaged.header.sender = "a";
    damaged.payload = damaged.payload.slice(0, 40);
    CHECK(
        holds(words_of<TransportError>([&] { to_message(damaged); }), "LABELS of a: at offset 8: expected "));
}

}  // namespace message_test
