// SPDX-License-Identifier: BSL-1.0
/// \file
/// The networks of the examples are the published ones: parameter counts, shapes of intermediate layers.
#include <retort_test.hpp>

#include "../../examples/common/glyphs.hpp"
#include "../../examples/models/flow_cnn.hpp"
#include "../../examples/models/pre_activation.hpp"
#include "../../examples/models/residual.hpp"
#include "../../examples/models/small_cnn.hpp"
#include "../../examples/models/wide_residual.hpp"

namespace models_test {

namespace {

std::vector<std::int64_t> shape(const at::Tensor& tensor) { return tensor.sizes().vec(); }

}  // namespace

TEST_CASE("residual networks have as many parameters as the published ones") {
    CHECK(models::parameter_count(*models::resnet(20)) == 278324);
    CHECK(models::parameter_count(*models::resnet(56)) == 861620);
    CHECK(models::parameter_count(*models::resnet_x4(8)) == 1233540);
    CHECK(models::parameter_count(*models::resnet_x4(32)) == 7433860);
    CHECK(models::parameter_count(*models::wide_resnet(16, 2)) == 703284);
    CHECK(models::parameter_count(*models::wide_resnet(40, 2)) == 2255156);
}

TEST_CASE("residual networks refuse an impossible depth") {
    CHECK_THROWS_AS(models::resnet(21), std::invalid_argument);
    CHECK_THROWS_AS(models::wide_resnet(17, 2), std::invalid_argument);
}

TEST_CASE("residual networks return stem, stages and pooled features") {
    using Shape = std::vector<std::int64_t>;
    const at::Tensor images = at::rand({2, 3, 32, 32});
    const auto narrow = models::resnet(8, 7)->forward(images);
    CHECK(shape(narrow.stem) == Shape{2, 16, 32, 32});
    CHECK(shape(narrow.stages[0]) == Shape{2, 16, 32, 32});
    CHECK(shape(narrow.stages[1]) == Shape{2, 32, 16, 16});
    CHECK(shape(narrow.stages[2]) == Shape{2, 64, 8, 8});
    CHECK(shape(narrow.pooled) == Shape{2, 64});
    CHECK(shape(narrow.logits) == Shape{2, 7});
    const auto wide = models::wide_resnet(10, 2, 7)->forward(images);
    CHECK(shape(wide.stem) == Shape{2, 16, 32, 32});
    CHECK(shape(wide.stages[2]) == Shape{2, 128, 8, 8});
    CHECK(shape(wide.pooled) == Shape{2, 128});
    CHECK(shape(wide.logits) == Shape{2, 7});
}

TEST_CASE("auxiliary heads are copies of the remaining stages, with separate classifiers") {
    const models::ResidualOptions options{.depth = 14, .stem = 4, .stages = {4, 8, 16}, .classes = 5};
    auto heads = models::residual_heads(options, 20);
    const auto outputs = models::ResidualNet(options)->forward(at::rand({2, 3, 16, 16}));
    REQUIRE(heads.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        auto& head = heads[i];
        CHECK(shape(head->forward(outputs.stages[i])) == std::vector<std::int64_t>{2, 20});
        // Two blocks per stage, then mean, flattening and classifier.
        CHECK(head->size() == (i == 0 ? 4 : 2) + 3);
    }
    CHECK(shape(heads[2][1]->as<models::ResidualBlock>()->forward(outputs.stages[2])) ==
          shape(outputs.stages[2]));
}

TEST_CASE("the networks of information flow modeling are those of the paper") {
    using Shape = std::vector<std::int64_t>;
    CHECK(models::parameter_count(*models::cnn1()) == 15050);
    CHECK(models::parameter_count(*models::cnn1_auxiliary()) == 57994);
    // The stem's normalization has 128 parameters more than the usual ResNet-18, published with 11171146.
    CHECK(models::parameter_count(*models::PreActivationNet()) == 11171146 + 128);
    const at::Tensor images = at::rand({2, 3, 32, 32});
    const auto small = models::cnn1()->forward(images);
    CHECK(shape(small.layers[0]) == Shape{2, 8, 15, 15});
    CHECK(shape(small.layers[1]) == Shape{2, 16, 6, 6});
    CHECK(shape(small.layers[2]) == Shape{2, 32, 2, 2});
    CHECK(shape(small.layers[3]) == Shape{2, 64});
    CHECK(shape(small.logits) == Shape{2, 10});
    const auto wide = models::cnn1_auxiliary(7)->forward(images);
    CHECK(wide.layers[0].numel() == 2 * 3600);
    CHECK(wide.layers[3].numel() == 2 * 128);
    CHECK(shape(wide.logits) == Shape{2, 7});
    models::PreActivationNet teacher(models::PreActivationOptions{.width = 4, .classes = 7});
    const auto large = teacher->forward(images);
    CHECK(shape(large.layers[0]) == Shape{2, 4, 4, 4});
    CHECK(shape(large.layers[1]) == Shape{2, 8, 4, 4});
    CHECK(shape(large.layers[2]) == Shape{2, 16, 2, 2});
    CHECK(shape(large.layers[3]) == Shape{2, 32});
    CHECK(shape(large.logits) == Shape{2, 7});
    // Layers are activations, as in the paper: never negative.
    for (const auto& each : small.layers) CHECK(each.min().item<float>() >= 0);
}

TEST_CASE("the small network classifies gray images of 28 pixels") {
    models::SmallCnn net(models::SmallCnnOptions{.width = 4, .classes = 6});
    CHECK(shape(net->forward(at::rand({3, 1, 28, 28}))) == std::vector<std::int64_t>{3, 6});
}

TEST_CASE("the built-in data set depends only on its seed") {
    const auto first = examples::glyphs({.samples = 200, .seed = 3});
    const int threads = at::get_num_threads();
    at::set_num_threads(threads == 1 ? 2 : 1);
    const auto again = examples::glyphs({.samples = 200, .seed = 3});
    at::set_num_threads(threads);
    const auto other = examples::glyphs({.samples = 200, .seed = 4});
    CHECK(first.inputs.equal(again.inputs));
    CHECK(first.targets.equal(again.targets));
    CHECK_FALSE(first.inputs.equal(other.inputs));
    CHECK(shape(first.inputs) == std::vector<std::int64_t>{200, 1, 28, 28});
    CHECK(first.classes == 10);
    CHECK(first.targets.bincount().eq(20).all().item<bool>());
    const auto color = examples::glyphs({.samples = 20, .size = 32, .color = true});
    CHECK(shape(color.inputs) == std::vector<std::int64_t>{20, 3, 32, 32});
    CHECK_THROWS_AS(examples::glyphs({.samples = 0}), retort::DataError);
}

}  // namespace models_test
