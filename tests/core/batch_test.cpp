// SPDX-License-Identifier: BSL-1.0
/// \file
/// Batches, logits, and how they are found.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core.hpp>

namespace batch_test {

using namespace retort_test;

namespace users {
struct Own {  // members with other names; functions define their meaning
    torch::Tensor images, labels;
    friend torch::Tensor input(const Own& batch) { return batch.images; }
    friend torch::Tensor target(const Own& batch) { return batch.labels; }
    friend Own to_device(const Own& batch, at::Device device) {
        return {batch.images.to(device), batch.labels.to(device)};
    }
};
struct Unmoved {  // forgot to_device
    torch::Tensor images;
    friend torch::Tensor input(const Unmoved& batch) { return batch.images; }
};
struct Members {
    torch::Tensor input, target;
    int tag = 0;
};
struct Both {  // a function takes precedence over a member
    torch::Tensor input, better;
    friend const torch::Tensor& input(const Both& batch) { return batch.better; }
};
struct OwnLogits {
    torch::Tensor scores, logits;
    friend const torch::Tensor& logits(const OwnLogits& outputs) { return outputs.scores; }
};
struct MemberLogits {
    torch::Tensor logits;
};
}  // namespace users

namespace {
bool is_the(const torch::Tensor& found, const torch::Tensor& expected) { return found.is_same(expected); }
}  // namespace

TEST_CASE("a tensor is a batch without targets") {
    const auto x = torch::rand({2, 3});
    CHECK(is_the(retort::input(x), x));
    STATIC_REQUIRE(retort::Batch<torch::Tensor>);
    STATIC_REQUIRE_FALSE(retort::LabeledBatch<torch::Tensor>);
}

TEST_CASE("input and target of every known kind of batch") {
    const auto x = torch::rand({2, 3}), y = torch::arange(2), z = torch::rand({1});
    const std::pair pair{x, y};
    CHECK(is_the(retort::input(pair), x));
    CHECK(is_the(retort::target(pair), y));
    const std::tuple tuple{x, y, z};
    CHECK(is_the(retort::input(tuple), x));
    CHECK(is_the(retort::target(tuple), y));
    const std::array<torch::Tensor, 2> array{x, y};
    CHECK(is_the(retort::input(array), x));
    CHECK(is_the(retort::target(array), y));
    const torch::data::Example<> example{x, y};
    CHECK(is_the(retort::input(example), x));
    CHECK(is_the(retort::target(example), y));
    const torch::data::TensorExample unlabeled{x};
    CHECK(is_the(retort::input(unlabeled), x));
    STATIC_REQUIRE_FALSE(retort::LabeledBatch<torch::data::TensorExample>);
    const users::Members members{x, y};
    CHECK(is_the(retort::input(members), x));
    CHECK(is_the(retort::target(members), y));
    const users::Own own{x, y};
    CHECK(is_the(retort::input(own), x));
    CHECK(is_the(retort::target(own), y));
    const users::Both both{x, z};
    CHECK(is_the(retort::input(both), z));
}

TEST_CASE("input does not copy the tensors of a batch") {
    const std::pair pair{torch::rand({2}), torch::rand({2})};
    STATIC_REQUIRE(std::is_same_v<decltype(retort::input(pair)), const torch::Tensor&>);
    CHECK(&retort::input(pair) == &pair.first);
}

TEST_CASE("to_device moves every tensor that it knows, and keeps the rest") {
    const auto meta = at::Device(at::kMeta);
    const auto x = torch::rand({2, 3}), y = torch::arange(2);
    CHECK(retort::to_device(x, meta).device() == meta);
    const auto pair = retort::to_device(std::pair{x, y}, meta);
    CHECK((pair.first.device() == meta && pair.second.device() == meta));
    const auto tuple = retort::to_device(std::tuple{x, 5, y}, meta);
    CHECK((std::get<0>(tuple).device() == meta && std::get<2>(tuple).device() == meta));
    CHECK(std::get<1>(tuple) == 5);
    const auto example = retort::to_device(torch::data::Example<>{x, y}, meta);
    CHECK((example.data.device() == meta && example.target.device() == meta));
    CHECK(retort::to_device(torch::data::TensorExample{x}, meta).data.device() == meta);
    const auto members = retort::to_device(users::Members{x, y, 3}, meta);
    CHECK((members.input.device() == meta && members.target.device() == meta && members.tag == 3));
    const auto own = retort::to_device(users::Own{x, y}, meta);
    CHECK((own.images.device() == meta && own.labels.device() == meta));
}

TEST_CASE("to_device issues no operator if there is nothing to move") {
    const auto x = torch::rand({2, 3});
    OperatorCount count;
    const auto same_place = retort::to_device(std::pair{x, torch::Tensor()}, at::Device(at::kCPU));
    CHECK(count.total() == 0);
    CHECK(is_the(same_place.first, x));
    CHECK_FALSE(same_place.second.defined());
}

TEST_CASE("a batch that cannot be moved is an error") {
    const users::Unmoved batch{torch::rand({2})};
    CHECK_NOTHROW(retort::to_device(batch, at::Device(at::kCPU)));
    const auto words = words_of<retort::ShapeError>([&] { retort::to_device(batch, at::Device(at::kMeta)); });
    CHECK(holds(words, "expected the input on meta", "found it on cpu", "to_device(batch, device)"));
}

TEST_CASE("logits are found as the outputs, by a function, or as a member") {
    const auto x = torch::rand({2, 3}), y = torch::rand({2, 3});
    CHECK(is_the(retort::logits(x), x));
    const users::OwnLogits own{x, y};
    CHECK(is_the(retort::logits(own), x));
    const users::MemberLogits member{y};
    CHECK(is_the(retort::logits(member), y));
    CHECK(&retort::logits(member) == &member.logits);
}

}  // namespace batch_test
