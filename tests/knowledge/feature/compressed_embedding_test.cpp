// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/connector/mlp.hpp>
#include <retort/knowledge/feature/compressed_embedding.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/tap/flat_tap.hpp>
#include <retort/tap/global_average.hpp>
#include <retort/tap/pooled_tap.hpp>

#include "outputs.hpp"

namespace compressed_embedding_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;
using Options = retort::CompressedEmbeddingOptions;

namespace {

using Batch = std::pair<torch::Tensor, torch::Tensor>;
const Batch batch{torch::Tensor(), torch::tensor({0, 2, 1}, torch::kLong)};

struct Setting {
    SmallOutputs student = small(torch::randn({3, 4}, torch::kFloat64).requires_grad_(),
                                 torch::randn({3, 5}, torch::kFloat64).requires_grad_());
    BigOutputs teacher = big(torch::randn({3, 9}, torch::kFloat64).requires_grad_());
};

}  // namespace

TEST_CASE("embedding_distance, computed manually") {
    const auto one = torch::tensor({{3.0, 4.0}, {0.0, 0.0}}, torch::kFloat64).requires_grad_();
    const auto other = torch::tensor({{4.0, 3.0}, {1.0, 0.0}}, torch::kFloat64);
    const auto each = functional::embedding_distance(one, other, {.reduction = retort::Reduction::none});
    CHECK(close(each, torch::tensor({1 - 24.0 / 25, 1.0}, torch::kFloat64), 1e-12));
    each.sum().backward();
    CHECK(one.grad().isfinite().all().item<bool>());
    CHECK(close(functional::embedding_distance(one, other, {.distance = Options::Distance::squared}),
                torch::tensor(0.75, torch::kFloat64), 1e-12));
    CHECK_THROWS_AS(functional::embedding_distance(one, other.slice(1, 0, 1)), retort::ShapeError);
}

TEST_CASE("CompressedEmbedding is a distance and a cross-entropy, and trains the right parts") {
    for (const bool both : {true, false}) {
        Setting setting;
        const Options options{.distance_weight = 2, .teacher_weight = 3, .distance_trains_compressor = both};
        retort::CompressedEmbedding term{body, stage3, retort::LinearMap{}, options};
        term.prepare(setting.student, &setting.teacher, batch);
        const auto parameters = term.module()->named_parameters();
        const auto compressed = torch::linear(setting.teacher.stage3.detach(),
                                              parameters["compressor.weight"], parameters["compressor.bias"]);
        const auto distance =
            2 * functional::embedding_distance(setting.student.body, both ? compressed : compressed.detach());
        const auto hard =
            3 * torch::cross_entropy_loss(
                    torch::linear(compressed, parameters["classifier.weight"], parameters["classifier.bias"]),
                    batch.second);
        const auto value = term(setting.student, setting.teacher, batch);
        CHECK(close(value, distance + hard, 1e-12));
        const std::vector<torch::Tensor> leaves{setting.student.body, parameters["compressor.weight"],
                                                parameters["classifier.weight"]};
        const auto found = torch::autograd::grad({value}, leaves);
        const auto expected = torch::autograd::grad({distance + hard}, leaves);
        for (std::size_t i = 0; i < leaves.size(); ++i) CHECK(close(found[i], expected[i], 1e-10));
        term(setting.student, setting.teacher, batch).backward();
        CHECK_FALSE(setting.teacher.stage3.grad().defined());
        CHECK_FALSE(setting.student.logits.grad().defined());
    }
}

TEST_CASE("CompressedEmbedding without the cross-entropy has no classifier") {
    Setting setting;
    retort::CompressedEmbedding term{body, stage3, retort::Mlp{}, {.teacher_weight = 0}};
    term.prepare(setting.student, &setting.teacher, batch);
    for (const auto& each : term.module()->named_parameters()) CHECK(each.key().starts_with("compressor."));
    CHECK(term(setting.student, setting.teacher, batch).dim() == 0);
    const retort::CompressedEmbedding idle{
        body, stage3, retort::LinearMap{}, {.teacher_weight = 0, .distance_trains_compressor = false}};
    CHECK_THROWS_AS(idle.check(), retort::ConfigError);
    retort::CompressedEmbedding maps{body, stage3};
    CHECK_THROWS_AS(
        maps.prepare(small(torch::randn({3, 4, 2, 2}), torch::randn({3, 5})), &setting.teacher, batch),
        retort::ShapeError);
}

TEST_CASE("taps that change the shape of a feature") {
    const auto outputs = small(torch::randn({2, 3, 4, 6}));
    CHECK(close(retort::GlobalAverage{body}(outputs), outputs.body.mean({2, 3})));
    CHECK(retort::PooledTap(body, 2)(outputs).sizes() == torch::IntArrayRef({2, 3, 2, 2}));
    CHECK(retort::FlatTap{body}(outputs).sizes() == torch::IntArrayRef({2, 72}));
    CHECK(retort::GlobalAverage{body}.name() == "average(body)");
    CHECK(retort::PooledTap(body, 2, 3).name() == "pooled(body, 2x3)");
    CHECK_THROWS_AS(retort::PooledTap(body, 0), retort::ConfigError);
    CHECK_THROWS_AS(retort::PooledTap(body, 2)(small(torch::randn({2, 3}))), retort::ShapeError);

    retort::Hint hint{retort::GlobalAverage{body}, retort::GlobalAverage{stage3}, retort::LinearMap{}};
    const auto teacher = big(torch::randn({2, 5, 8, 8}));
    hint.prepare(outputs, &teacher, batch);
    CHECK(hint(outputs, teacher, batch).dim() == 0);
    CHECK(hint.name() == "hint(average(body)->average(stage3))");
}

}  // namespace compressed_embedding_test
