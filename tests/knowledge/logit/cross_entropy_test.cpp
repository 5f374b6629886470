// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cross-entropy: values, gradients, reductions, extremes and errors.
#include <finite_differences.hpp>
#include <golden.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/knowledge/logit/cross_entropy.hpp>

namespace cross_entropy_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Reduction;
using retort::functional::cross_entropy;

namespace {
const auto classes = [](std::vector<std::int64_t> values) { return torch::tensor(values, torch::kLong); };
}  // namespace

TEST_CASE("cross-entropy computed manually") {
    const auto logits = torch::tensor({{std::log(3.0), 0.0}, {0.0, 0.0}}, torch::kFloat64);
    // -log(3/4) and -log(1/2)
    CHECK(cross_entropy(logits, classes({0, 1})).item<double>() ==
          Approx((std::log(4.0 / 3.0) + std::log(2.0)) / 2).epsilon(1e-12));
    // With smoothing 0.2 the target of the first is (0.9, 0.1): -0.9 log(3/4) - 0.1 log(1/4).
    CHECK(cross_entropy(logits.narrow(0, 0, 1), classes({0}), {.label_smoothing = 0.2}).item<double>() ==
          Approx(-0.9 * std::log(0.75) - 0.1 * std::log(0.25)).epsilon(1e-12));
}

TEST_CASE("the reductions of cross-entropy and their relations") {
    torch::manual_seed(1);
    const auto logits = torch::randn({5, 3}, torch::kFloat64);
    const auto target = classes({0, 1, 2, 1, 0});
    const auto value = [&](Reduction reduction) {
        return cross_entropy(logits, target, {.reduction = reduction});
    };
    const auto none = value(Reduction::none);
    CHECK(none.sizes() == at::IntArrayRef({5}));
    CHECK(close(value(Reduction::sum), none.sum(), 1e-12));
    CHECK(close(value(Reduction::batchmean), none.mean(), 1e-12));
    CHECK(same(value(Reduction::mean), value(Reduction::batchmean)));
}

TEST_CASE("cross-entropy is LibTorch's, bit for bit") {
    torch::manual_seed(2);
    const auto logits = torch::randn({6, 4});
    const auto target = classes({0, 1, 2, 3, 3, 3});
    CHECK(same(cross_entropy(logits, target), torch::nn::functional::cross_entropy(logits, target)));
}

TEST_CASE("cross-entropy of pixels agrees with LibTorch's") {
    int none_count = 0;
    for (const golden::Case& reference : golden::cases("ce_pixels__torch")) {
        INFO(reference.name());
        const auto logits = reference.leaf("logits"), target = reference.input("target");
        CrossEntropy options{
            .label_smoothing = reference.option("label_smoothing"),
            .reduction = reference.word("reduction") == "sum" ? Reduction::sum : Reduction::batchmean,
            .ignore_index = static_cast<std::int64_t>(reference.option("ignore_index"))};
        if (reference.has_input("class_weight")) options.class_weights = reference.input("class_weight");
        const auto value = cross_entropy(logits, target, options);
        if (reference.name().starts_with("all_ignored") && options.reduction != Reduction::sum) {
            // LibTorch's mean over nothing is NaN.
            CHECK(value.item<double>() == 0);
            value.backward();
            CHECK(same(logits.grad(), torch::zeros_like(logits)));
            ++none_count;
        } else if (reference.name() == "only_zero_weight_targets") {
            CHECK(std::isnan(value.item<double>()));  // a choice of weights, which a checkpointed run names
        } else {
            CHECK(golden::agrees(reference, value, {{"logits", {logits}}}));
        }
        if (target.is_floating_point() || options.class_weights.defined()) continue;
        // One loss per sample: the mean over its positions that count.
        options.reduction = Reduction::none;
        const auto each = reference.component("per_element").flatten(1).sum(1) /
                          target.flatten(1).ne(options.ignore_index).sum(1).clamp_min(1);
        CHECK(close(cross_entropy(logits, target, options), each, 1e-10, 1e-12));
    }
    CHECK(none_count == 2);
}

TEST_CASE("the gradient of cross-entropy agrees with finite differences") {
    torch::manual_seed(3);
    const auto logits = torch::randn({3, 4}, torch::kFloat64);
    const auto weights = torch::tensor({1.0, 2.0, 0.5, 1.0}, torch::kFloat64);
    for (const CrossEntropy& options :
         {CrossEntropy{}, CrossEntropy{.label_smoothing = 0.1}, CrossEntropy{.class_weights = weights},
          CrossEntropy{.reduction = Reduction::sum}}) {
        const auto loss = [&](const torch::Tensor& x) {
            return cross_entropy(x, classes({0, 3, 3}), options);
        };
        CHECK(close(gradient(loss, logits), numerical_gradient(loss, logits), 1e-6, 1e-9));
    }
}

TEST_CASE("targets may be probabilities") {
    torch::manual_seed(4);
    const auto logits = torch::randn({2, 3}, torch::kFloat64);
    const auto one_hot = torch::tensor({{0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}, torch::kFloat64);
    CHECK(close(cross_entropy(logits, one_hot), cross_entropy(logits, classes({1, 2})), 1e-12));
}

TEST_CASE("class weights and ignored samples") {
    torch::manual_seed(5);
    const auto logits = torch::randn({3, 3}, torch::kFloat64);
    const auto each = cross_entropy(logits, classes({0, 1, 2}), {.reduction = Reduction::none});
    const auto weights = torch::tensor({1.0, 3.0, 0.0}, torch::kFloat64);
    CHECK(close(cross_entropy(logits, classes({0, 1, 2}), {.class_weights = weights}),
                (each[0] + 3 * each[1]) / 4, 1e-12));
    CHECK(close(cross_entropy(logits, classes({0, -100, 2})), (each[0] + each[2]) / 2, 1e-12));
    CHECK(close(cross_entropy(logits, classes({0, 1, 2}), {.ignore_index = 1}), (each[0] + each[2]) / 2,
                1e-12));
}

TEST_CASE("extreme logits, one sample, an absent class and 16-bit types are fine") {
    for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
        const auto leaf = torch::tensor({{1e4, -1e4, 0.0}}).to(type).requires_grad_();
        const auto loss = cross_entropy(leaf, classes({1}));
        CHECK(loss.scalar_type() == (type == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32));
        CHECK(loss.item<double>() == Approx(2e4).epsilon(1e-2));
        loss.backward();
        CHECK(leaf.grad().isfinite().all().item<bool>());
        CHECK(leaf.grad().scalar_type() == type);
    }
}

TEST_CASE("mismatched targets are named with shape and type") {
    const auto logits = torch::randn({2, 3});
    const auto words = [&](const torch::Tensor& target) {
        return words_of<retort::ShapeError>([&] { cross_entropy(logits, target); });
    };
    CHECK(words(classes({0, 1, 2})) ==
          "cross_entropy: expected targets of shape [2] and type Long, or of the shape of the logits and a "
          "floating-point type; found [3] and Long");
    CHECK(holds(words(torch::zeros({2}, torch::kInt)), "found [2] and Int"));
    CHECK(holds(words(torch::zeros({2, 3}, torch::kLong)), "found [2, 3] and Long"));
    CHECK(holds(words(torch::zeros({2})), "found [2] and Float"));
    CHECK(holds(words(torch::Tensor()),
                "cross_entropy: expected targets to be a tensor, found an undefined one"));
    CHECK(holds(words(classes({0, 1}).to(at::kMeta)), "on one device, found cpu and meta"));
    CHECK(holds(words_of<retort::ShapeError>([&] { cross_entropy(torch::randn({3}), classes({0})); }),
                "expected logits of shape [batch, classes] or [batch, classes, ...], found [3]"));
    CHECK(words_of<retort::ShapeError>([&] {
              cross_entropy(logits, classes({0, 1}), {.class_weights = torch::ones({4})});
          }) == "cross_entropy: expected class weights of shape [3], found [4]");
}

TEST_CASE("an invalid label smoothing is an error") {
    for (const double smoothing : {-0.1, 1.1, std::nan("")}) {
        CHECK(
            holds(words_of<retort::ConfigError>([&] { CrossEntropy{.label_smoothing = smoothing}.check(); }),
                  "CrossEntropy: expected a label smoothing in [0, 1], found "));
    }
    CHECK_NOTHROW(CrossEntropy{.label_smoothing = 1.0}.check());
}

TEST_CASE("the term reads logits and targets") {
    const ConvOutputs outputs{torch::randn({2, 3}), {}, {}};
    const std::pair batch{torch::rand({2, 4}), classes({0, 2})};
    CHECK(same(CrossEntropy{}(outputs, retort::NoOutputs{}, batch),
               cross_entropy(outputs.logits, batch.second)));
    STATIC_REQUIRE((!CrossEntropy::needs_teacher && CrossEntropy::needs_target));
    CHECK(CrossEntropy::name() == "cross_entropy");
}

}  // namespace cross_entropy_test
