// SPDX-License-Identifier: BSL-1.0
/// \file
/// Networks with auxiliary heads: where the heads' gradients go, and mismatches.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/network.hpp>
#include <retort/tap.hpp>

namespace augmented_network_test {

using namespace retort_test;
using retort::Backbone;
using retort::tap;
using retort::Taps;

namespace {
torch::nn::Sequential head(std::int64_t channels, std::int64_t classes = 12) {
    using namespace torch::nn;
    return Sequential(AdaptiveAvgPool2d(AdaptiveAvgPool2dOptions(1)), Flatten(), Linear(channels, classes));
}
const Taps maps{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>};
auto with_heads(const ConvNet& net, Backbone backbone) {
    return retort::augmented(net, maps, {head(4), head(8)}, {.backbone = backbone});
}
}  // namespace

TEST_CASE("gradients of auxiliary heads reach the network below or not, as chosen") {
    const auto batch = images(1)[0];
    torch::manual_seed(5);
    ConvNet net(4);
    for (const Backbone backbone : {Backbone::apart, Backbone::with_heads}) {
        const auto teacher = with_heads(net, backbone);
        net->zero_grad();
        const auto outputs = teacher->forward(batch.first);
        (outputs.heads[0].sum() + outputs.heads[1].sum()).backward();
        const auto& gradient = net->first->weight.grad();
        const bool reached = gradient.defined() && gradient.abs().sum().item<double>() > 0;
        CHECK(reached == (backbone == Backbone::with_heads));
    }
    // A frozen network stays in evaluation mode, and its heads do not.
    const auto teacher = with_heads(net, Backbone::frozen);
    teacher->train();
    CHECK_FALSE(net->norm->is_training());
    CHECK(teacher->is_training());
}

TEST_CASE("mismatched heads are errors") {
    const auto config = [](auto&& function) { return words_of<retort::ConfigError>(function); };
    ConvNet net(4);
    CHECK(config([&] { retort::augmented(net, maps, {head(4)}); }) ==
          "AugmentedNetwork: expected a head for each of the 2 taps, found 1");
    CHECK(holds(config([&] { retort::augmented(net, maps, {head(4), torch::nn::Sequential()}); }), "head 1"));
    CHECK(holds(config([&] { retort::augmented(net, maps, {head(4), head(8)}, {.views = 0}); }),
                "at least 1 view"));
    const auto few = retort::augmented(net, maps, {head(4), head(8, 3)});
    CHECK(words_of<retort::ShapeError>([&] { few->forward(images(1)[0].first); }) ==
          "AugmentedNetwork: expected logits of 4 * 3 joint classes from head 1, found [6, 3]");
}

}  // namespace augmented_network_test
