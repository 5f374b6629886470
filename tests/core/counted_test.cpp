// SPDX-License-Identifier: BSL-1.0
/// \file
/// What counts as a prediction, and what means are over: in batches, runs and metrics.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core/counted.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace counted_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::Sgd;
using retort::Trainer;
using retort::detail::counted;

namespace {
const auto classes = [](std::vector<std::int64_t> values) { return torch::tensor(values, torch::kLong); };
/// Ids [batch, tokens] to logits [batch * tokens, 7].
struct FlatTokensImpl : torch::nn::Module {
    FlatTokensImpl()
        : embedding(register_module("embedding", torch::nn::Embedding(7, 4))),
          head(register_module("head", torch::nn::Linear(4, 7))) {}
    torch::Tensor forward(const torch::Tensor& ids) { return head(embedding(ids)).reshape({-1, 7}); }
    torch::nn::Embedding embedding;
    torch::nn::Linear head;
};
TORCH_MODULE(FlatTokens);
/// Images to logits [batch, 3, height, width].
struct PixelsImpl : torch::nn::Module {
    PixelsImpl() : conv(register_module("conv", torch::nn::Conv2d(1, 3, 1))) {}
    torch::Tensor forward(const torch::Tensor& images) { return conv(images); }
    torch::nn::Conv2d conv;
};
TORCH_MODULE(Pixels);
struct Marked {
    torch::Tensor input, target;
    std::int64_t ignore_index = 255;
};
}  // namespace

TEST_CASE("a batch has as many predictions as targets that are not ignored") {
    const auto logits = torch::tensor({{0.0, 1.0}, {1.0, 0.0}, {0.0, 1.0}});
    const auto three = counted(logits, PairBatch{torch::rand({3, 2}), classes({1, 1, -100})}, true);
    CHECK(three.predictions == 2);
    CHECK(three.right.item<std::int64_t>() == 1);
    CHECK_FALSE(
        counted(logits, PairBatch{torch::rand({3, 2}), classes({1, 1, -100})}, false).right.defined());
    const auto marked = counted(logits, Marked{torch::rand({3, 2}), classes({255, 1, 1})}, true);
    CHECK(marked.predictions == 2);
    CHECK(marked.right.item<std::int64_t>() == 1);
    // Several per row: flattened tokens, pixels.
    CHECK(
        counted(torch::rand({12, 7}), PairBatch{torch::rand({3, 4}), torch::zeros({12}, torch::kLong)}, true)
            .predictions == 12);
    CHECK(counted(torch::rand({2, 3, 4, 4}),
                  PairBatch{torch::rand({2, 1, 4, 4}), torch::zeros({2, 4, 4}, torch::kLong)}, true)
              .predictions == 32);
    // Other targets: samples.
    const auto soft = counted(logits, PairBatch{torch::rand({3, 2}), torch::rand({3, 2})}, true);
    CHECK(soft.predictions == 3);
    CHECK_FALSE(soft.right.defined());
}

TEST_CASE("a history of flattened tokens has the accuracy and the loss of evaluate") {
    torch::manual_seed(1);
    FlatTokens net;
    std::vector<PairBatch> batches;
    for (const std::int64_t rows : {4, 4, 2}) {
        const auto ids = torch::randint(7, {rows, 10}, torch::kLong);
        auto target = ids.flatten().clone();
        target.slice(0, 0, 3 * rows) = -100;
        target.slice(0, 5 * rows) = 0;
        batches.emplace_back(ids, target);
    }
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{.learning_rate = 0.0}};
    const auto& history = trainer.fit(batches, {.epochs = 1});
    CHECK(history.last("accuracy") ==
          Approx(trainer.evaluate(batches, retort::metrics::Accuracy{}).value()).epsilon(1e-6));
    double sum = 0, count = 0;
    for (const auto& [ids, target] : batches) {
        const auto valid = static_cast<double>(target.ne(-100).sum().item<std::int64_t>());
        sum += retort::functional::cross_entropy(net->forward(ids), target).item<double>() * valid;
        count += valid;
    }
    CHECK(history.last("loss") == Approx(sum / count).epsilon(1e-6));
    CHECK(history.last("samples") == 10);
}

TEST_CASE("pixels are trained and counted") {
    torch::manual_seed(1);
    Pixels net;
    const auto images = torch::randn({4, 1, 5, 5});
    auto target = (images > 0).to(torch::kLong).squeeze(1);
    target[0] = -100;
    const std::vector<PairBatch> batches{{images, target}};
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{.learning_rate = 1.0}};
    const auto& history = trainer.fit(batches, {.epochs = 40});
    CHECK(history.last("accuracy") > 0.9);
    CHECK(history.last("accuracy") <= 1.0);
    CHECK(history.last("samples") == 4);
    const double measured = trainer.evaluate(batches, retort::metrics::Accuracy{}).value();
    const auto right = net->forward(images).argmax(1).eq(target).sum().item<std::int64_t>();
    CHECK(measured == Approx(static_cast<double>(right) / 75));
}

TEST_CASE("accumulated batches make the step of the large batch where targets are ignored") {
    torch::manual_seed(3);
    const auto input = torch::randn({12, 4}, torch::kFloat64);
    const auto target = classes({-100, -100, -100, 1, 0, 2, -100, 1, -100, -100, -100, -100});
    const auto run = [&](const std::vector<std::int64_t>& sizes, retort::AccumulateBy by) {
        torch::manual_seed(4);
        Perceptron net;
        net->to(torch::kFloat64);
        std::vector<PairBatch> batches;
        std::int64_t begin = 0;
        for (const std::int64_t size : sizes) {
            batches.emplace_back(input.slice(0, begin, begin + size), target.slice(0, begin, begin + size));
            begin += size;
        }
        Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                        Sgd{.learning_rate = 0.1}};
        trainer.fit(
            batches,
            {.epochs = 2, .accumulate = static_cast<std::int64_t>(sizes.size()), .accumulate_by = by});
        return net->parameters();
    };
    const auto large = run({12}, retort::AccumulateBy::predictions);
    for (const std::vector<std::int64_t>& sizes :
         {std::vector<std::int64_t>{4, 4, 4}, {3, 5, 4}, {6, 6}, {2, 1, 9}}) {
        const auto parts = run(sizes, retort::AccumulateBy::predictions);
        for (std::size_t i = 0; i < large.size(); ++i) CHECK(close(parts[i], large[i], 1e-12, 1e-14));
    }
    CHECK_FALSE(close(run({4, 4, 4}, retort::AccumulateBy::samples)[0], large[0], 1e-6, 1e-8));
}

TEST_CASE("a batch in which no target counts teaches nothing and ends no run") {
    Perceptron net;
    const auto before = state(*net);
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{.learning_rate = 0.1}};
    const std::vector<PairBatch> nothing{{torch::randn({4, 4}), torch::full({4}, -100, torch::kLong)}};
    const auto& history = trainer.fit(nothing, {.epochs = 1});
    CHECK(same(before, state(*net)));
    CHECK((!history.measured("loss") && !history.measured("accuracy")));
    CHECK(history.last("samples") == 4);
    CHECK(holds(
        words_of<retort::DataError>([&] { trainer.evaluate(nothing, retort::metrics::Accuracy{}).value(); }),
        "accuracy: expected at least one target that is not ignored, found none among 4"));
}

TEST_CASE("metrics leave out ignored targets, and see every pixel") {
    namespace metrics = retort::metrics;
    torch::manual_seed(5);
    const auto logits = torch::randn({3, 4, 2, 5}, torch::kFloat64);
    auto target = torch::randint(4, {3, 2, 5}, torch::kLong);
    target[1][0] = -100;
    target[2][1][3] = -100;
    const auto rows = logits.permute({0, 2, 3, 1}).reshape({-1, 4});
    const auto kept = target.flatten().ne(-100).nonzero().squeeze(1);
    const auto agree = [&](auto pixels, auto plain) {
        pixels.update(logits, target);
        plain.update(rows.index_select(0, kept), target.flatten().index_select(0, kept));
        INFO(pixels.name());
        CHECK(pixels.value() == Approx(plain.value()).epsilon(1e-12));
    };
    agree(metrics::Accuracy{}, metrics::Accuracy{});
    agree(metrics::TopK{.k = 2}, metrics::TopK{.k = 2});
    agree(metrics::Confusion{}, metrics::Confusion{});
    agree(metrics::CalibrationError{}, metrics::CalibrationError{});
    metrics::Confusion cells;
    cells.update(logits, target);
    CHECK(cells.matrix().sum().item<std::int64_t>() == 24);
    // Another index may be the ignored one; -100 is then out of range.
    metrics::Accuracy other{.ignore_index = 3};
    other.update(logits, target);
    CHECK_THROWS_AS(other.value(), retort::DataError);
}

}  // namespace counted_test
