// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/metrics/extract_features.hpp>

namespace extract_features_test {

using namespace retort_test;

TEST_CASE("features are the tensors of the taps in evaluation mode, sample by sample") {
    torch::manual_seed(1);
    ConvNet net(3, 0.5);
    const auto batches = images(3, 4);
    const auto before = state(*net);
    net->train();
    net->drop->eval();
    const auto taps = retort::Taps{retort::tap<&ConvOutputs::early>, retort::tap<&ConvOutputs::logits>};
    const auto layers = retort::features(net, taps, batches);
    CHECK(net->is_training());
    CHECK_FALSE(net->drop->is_training());
    CHECK(same(state(*net), before));  // batch norm statistics are unchanged
    REQUIRE(layers.size() == 2);
    CHECK(layers[0].values.sizes() == torch::IntArrayRef({12, 3 * 8 * 8}));
    net->eval();
    const torch::NoGradGuard no_grad;
    for (std::int64_t i = 0; i < 3; ++i) {
        const auto& [input, target] = batches[static_cast<std::size_t>(i)];
        const auto outputs = net->forward(input);
        CHECK(same(layers[0].values.narrow(0, 4 * i, 4), outputs.early.flatten(1)));
        CHECK(same(layers[1].values.narrow(0, 4 * i, 4), outputs.logits));
        CHECK(same(layers[1].target.narrow(0, 4 * i, 4), target));
    }
    CHECK_FALSE(layers[0].values.requires_grad());
    // One tap gives one set; a callable of the epoch is called for epoch 0.
    const auto one = retort::features(net, retort::tap<&ConvOutputs::logits>, [&](std::int64_t epoch) {
        CHECK(epoch == 0);
        return batches;
    });
    CHECK(same(one.values, layers[1].values));
}

TEST_CASE("features refuse outputs without rows") {
    ConvNet net;
    CHECK(holds(words_of<retort::DataError>([&] {
                    retort::features(net, retort::tap<&ConvOutputs::logits>, std::vector<PairBatch>{});
                }),
                "features: expected at least one batch, found none"));
    const auto scalar = [](const ConvOutputs& outputs) { return outputs.logits.sum(); };
    CHECK(holds(words_of<retort::ShapeError>([&] { retort::features(net, scalar, images(1)); }),
                "features: expected a tap of shape [batch, ...], found []"));
}

}  // namespace extract_features_test
