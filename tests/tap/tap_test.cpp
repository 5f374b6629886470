// SPDX-License-Identifier: BSL-1.0
/// \file
/// Taps, and the names of taps and types.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core.hpp>
#include <retort/tap.hpp>

namespace tap_test {

using namespace retort_test;
using retort::tap;

namespace users {
struct Base {
    torch::Tensor inherited;
};
struct Outputs : Base {
    torch::Tensor body;
    std::array<torch::Tensor, 2> stages;
    std::vector<torch::Tensor> list;
    std::tuple<torch::Tensor, std::vector<torch::Tensor>> nested;
    std::pair<torch::Tensor, torch::Tensor> two;
};
template <class T>
struct Outer {
    struct Inner {};
    template <class U>
    struct Deep {};
    torch::Tensor body;
};
}  // namespace users

namespace {
struct Hidden {
    torch::Tensor body;
};
}  // namespace

TEST_CASE("a tap reads a member, without a copy") {
    users::Outputs outputs;
    outputs.body = torch::rand({2});
    outputs.inherited = torch::rand({3});
    CHECK(&tap<&users::Outputs::body>(outputs) == &outputs.body);
    CHECK(&tap<&users::Outputs::inherited>(outputs) == &outputs.inherited);
}

TEST_CASE("a tap follows a path of elements") {
    users::Outputs outputs;
    outputs.stages = {torch::rand({1}), torch::rand({2})};
    outputs.list = {torch::rand({1}), torch::rand({2}), torch::rand({3})};
    outputs.nested = {torch::rand({1}), {torch::rand({4}), torch::rand({5})}};
    outputs.two = {torch::rand({6}), torch::rand({7})};
    CHECK(&tap<&users::Outputs::stages, 1>(outputs) == &outputs.stages[1]);
    CHECK(&tap<&users::Outputs::list, 2>(outputs) == &outputs.list[2]);
    CHECK(&tap<&users::Outputs::nested, 0>(outputs) == &std::get<0>(outputs.nested));
    CHECK(&tap<&users::Outputs::nested, 1, 1>(outputs) == &std::get<1>(outputs.nested)[1]);
    CHECK(&tap<&users::Outputs::two, 1>(outputs) == &outputs.two.second);
}

TEST_CASE("a vector that is too short is an error") {
    users::Outputs outputs;
    outputs.list = {torch::rand({1})};
    const auto words = words_of<retort::ShapeError>([&] { tap<&users::Outputs::list, 1>(outputs); });
    CHECK(words == "tap: expected an element 1, found only 1 elements");
}

TEST_CASE("a tap reads a named output, and errors name the existing ones") {
    const std::map<std::string, torch::Tensor> outputs{{"layer1", torch::rand({1})},
                                                       {"layer3", torch::rand({3})}};
    CHECK(&tap<"layer3">(outputs) == &outputs.at("layer3"));
    const auto words = words_of<retort::ConfigError>([&] { tap<"layer2">(outputs); });
    CHECK(words == "tap: expected an output \"layer2\", found: layer1, layer3");
    CHECK_THROWS_AS(tap<"layer2">(std::map<std::string, torch::Tensor>{}), retort::ConfigError);
    const std::unordered_map<std::string, torch::Tensor> hashed{{"x", torch::rand({1})}};
    CHECK(&tap<"x">(hashed) == &hashed.at("x"));
}

TEST_CASE("the name of a tap") {
    CHECK(tap<&users::Outputs::body>.name() == "body");
    CHECK(tap<&users::Outputs::inherited>.name() == "inherited");
    CHECK(tap<&users::Outputs::stages, 1>.name() == "stages[1]");
    CHECK(tap<&users::Outputs::nested, 1, 0>.name() == "nested[1][0]");
    CHECK(tap<&users::Outer<std::array<int, 3>>::body>.name() == "body");
    CHECK(tap<&Hidden::body>.name() == "body");
    CHECK(tap<"layer3">.name() == "layer3");
    CHECK(retort::detail::tap_name([](const Hidden& outputs) { return outputs.body; }) == "tap");
}

TEST_CASE("several taps read several tensors") {
    users::Outputs outputs;
    outputs.body = torch::rand({2});
    outputs.stages = {torch::rand({1}), torch::rand({2})};
    const retort::Taps taps{tap<&users::Outputs::stages, 1>, tap<&users::Outputs::body>};
    const auto tensors = taps(outputs);
    REQUIRE(tensors.size() == 2);
    CHECK(tensors[0].is_same(outputs.stages[1]));
    CHECK(tensors[1].is_same(outputs.body));
    CHECK(taps.name() == "stages[1]+body");
}

TEST_CASE("a lambda is a tap") {
    const auto last = [](const users::Outputs& outputs) { return outputs.list.back() * 2; };
    STATIC_REQUIRE(retort::TapOf<decltype(last), users::Outputs>);
    STATIC_REQUIRE_FALSE(retort::TapOf<decltype(last), Hidden>);
    users::Outputs outputs;
    outputs.list = {torch::ones({2})};
    CHECK(same(last(outputs), torch::full({2}, 2.0F)));
}

TEST_CASE("types are named without namespaces, enclosing classes and template arguments") {
    struct Local {};
    using retort::detail::type_name;
    CHECK(type_name<int>() == "int");
    CHECK(type_name<users::Outputs>() == "Outputs");
    CHECK(type_name<Hidden>() == "Hidden");
    CHECK(type_name<Local>() == "Local");
    CHECK(type_name<std::vector<users::Outputs>>() == "vector");
    CHECK(type_name<users::Outer<std::vector<int>>::Inner>() == "Inner");
    CHECK(type_name<users::Outer<std::vector<int>>::Deep<std::pair<int, users::Outputs>>>() == "Deep");
}

}  // namespace tap_test
