// SPDX-License-Identifier: BSL-1.0
/// \file
/// Networks: how they are held, called and put into evaluation mode.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core.hpp>

namespace network_test {

using namespace retort_test;
using retort::NetworkRef;

namespace {
/// Two levels of children, one of them registered twice.
struct TreeImpl : torch::nn::Module {
    TreeImpl() {
        shared = register_module("shared", torch::nn::BatchNorm1d(2));
        branch =
            register_module("branch", torch::nn::Sequential(torch::nn::Dropout(), shared, torch::nn::ReLU()));
        leaf = register_module("leaf", torch::nn::Linear(2, 2));
    }
    torch::Tensor forward(const torch::Tensor& x) { return branch->forward(leaf->forward(x)); }
    torch::nn::BatchNorm1d shared{nullptr};
    torch::nn::Sequential branch;
    torch::nn::Linear leaf{nullptr};
};
TORCH_MODULE(Tree);

struct Tied : torch::nn::Module {  // an object on the stack; one layer under two names
    Tied() {
        one = register_module("one", torch::nn::Linear(2, 2));
        register_module("two", one);
        last = register_module("last", torch::nn::Linear(2, 2));
        last->bias.requires_grad_(false);
    }
    torch::Tensor forward(const torch::Tensor& x) { return last->forward(one->forward(x)); }
    torch::nn::Linear one{nullptr}, last{nullptr};
};

std::vector<bool> flags(const torch::nn::Module& module) {
    std::vector<bool> result{module.is_training()};
    for (const auto& each : module.modules(false)) result.push_back(each->is_training());
    return result;
}
}  // namespace

TEST_CASE("a network is shared with its owner, or referenced") {
    Perceptron holder;
    const NetworkRef<Perceptron> by_holder(holder);
    CHECK(&*by_holder == holder.get());
    CHECK(&by_holder.module() == holder.get());
    const std::shared_ptr<PerceptronImpl> pointer = holder.ptr();
    const NetworkRef<std::shared_ptr<PerceptronImpl>> by_pointer(pointer);
    CHECK(by_pointer.operator->() == holder.get());
    Tied object;
    const NetworkRef<Tied> by_reference(object);
    CHECK(&*by_reference == &object);
    const auto x = torch::rand({3, 2});
    CHECK(same(by_reference->forward(x), object.forward(x)));
}

TEST_CASE("a holder that is shared outlives its first owner") {
    auto holder = std::make_unique<Perceptron>();
    const NetworkRef<Perceptron> reference(*holder);
    holder.reset();
    CHECK(reference->forward(torch::rand({1, 4})).sizes() == at::IntArrayRef({1, 3}));
}

TEST_CASE("an empty holder is not a network") {
    const std::string expected = "network: expected a module, found an empty holder or null pointer";
    CHECK(words_of<retort::ConfigError>([] { NetworkRef<Perceptron>(Perceptron(nullptr)); }) == expected);
    CHECK(words_of<retort::ConfigError>([] {
              NetworkRef<std::shared_ptr<PerceptronImpl>>(std::shared_ptr<PerceptronImpl>());
          }) == expected);
}

TEST_CASE("all training flags are restored after evaluation mode") {
    Tree tree;
    const auto with = [&](const std::vector<bool>& wanted) {
        auto each = wanted.begin();
        tree->train(*each++);
        for (const auto& module : tree->modules(false)) module->train(*each++);
        const auto before = flags(*tree);
        {
            const retort::EvalMode eval(*tree);
            const auto now = flags(*tree);
            CHECK(std::none_of(now.begin(), now.end(), [](bool flag) { return flag; }));
        }
        CHECK(flags(*tree) == before);
        return before;
    };
    const auto count = flags(*tree).size();
    REQUIRE(count >= 6);
    with(std::vector<bool>(count, true));
    with(std::vector<bool>(count, false));
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<bool> one(count, false), others(count, true);
        one[i] = true;
        others[i] = false;
        with(one);
        with(others);
    }
}

TEST_CASE("training flags are restored after an error, too") {
    Tree tree;
    tree->leaf->eval();
    const auto before = flags(*tree);
    try {
        const retort::EvalMode eval(*tree);
        throw std::runtime_error("");
    } catch (const std::runtime_error&) {
    }
    CHECK(flags(*tree) == before);
}

TEST_CASE("trainable parameters: each once, and only those that require a gradient") {
    Tied net;
    CHECK(net.parameters().size() == 6);
    const auto found = retort::detail::trainable_parameters(net);
    REQUIRE(found.size() == 3);
    CHECK(found[0].is_same(net.one->weight));
    CHECK(found[1].is_same(net.one->bias));
    CHECK(found[2].is_same(net.last->weight));
}

}  // namespace network_test
