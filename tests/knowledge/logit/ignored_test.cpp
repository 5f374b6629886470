// SPDX-License-Identifier: BSL-1.0
/// \file
/// Ignored targets: each loss with targets is that of the other samples, in value and gradient.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/knowledge/filter/class_weights.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/decoupled_kd.hpp>
#include <retort/knowledge/logit/normalized_kd.hpp>
#include <retort/knowledge/logit/teacher_free_regularization.hpp>
#include <retort/knowledge/logit/weighted_soft_labels.hpp>

namespace ignored_test {

using namespace retort_test;
using retort::Reduction;

namespace {
/// Calls `law(name, term, loss)` for each, where `loss(student, teacher, target, term)` is the loss.
template <class Law>
void each_loss(const Law& law) {
    namespace f = retort::functional;
    using at::Tensor;
    law("cross_entropy", retort::CrossEntropy{},
        [](const Tensor& s, const Tensor&, const Tensor& y, const auto& o) {
            return f::cross_entropy(s, y, o);
        });
    law("cross_entropy with smoothing", retort::CrossEntropy{.label_smoothing = 0.1},
        [](const Tensor& s, const Tensor&, const Tensor& y, const auto& o) {
            return f::cross_entropy(s, y, o);
        });
    law("decoupled_kd", retort::DecoupledKd{.non_target_weight = 2.0},
        [](const Tensor& s, const Tensor& t, const Tensor& y, const auto& o) {
            return f::decoupled_kd(s, t, y, o);
        });
    law("normalized_kd", retort::NormalizedKd{.temperature = 2.0},
        [](const Tensor& s, const Tensor& t, const Tensor& y, const auto& o) {
            return f::normalized_kd(s, t, y, o);
        });
    law("weighted_soft_labels", retort::WeightedSoftLabels{},
        [](const Tensor& s, const Tensor& t, const Tensor& y, const auto& o) {
            return f::weighted_soft_labels(s, t, y, o);
        });
    law("teacher_free_regularization", retort::TeacherFreeRegularization{},
        [](const Tensor& s, const Tensor&, const Tensor& y, const auto& o) {
            return f::teacher_free_regularization(s, y, o);
        });
}
}  // namespace

TEST_CASE("a sample whose target is ignored is as if it were not there") {
    torch::manual_seed(1);
    const auto logits = torch::randn({6, 4}, torch::kFloat64),
               teacher = torch::randn({6, 4}, torch::kFloat64);
    const auto target = torch::tensor({0, -100, 3, 1, -100, 2});
    const auto kept = torch::tensor({0, 2, 3, 5});
    each_loss([&](const std::string& name, auto term, const auto& loss) {
        INFO(name);
        for (const Reduction reduction :
             {Reduction::batchmean, Reduction::mean, Reduction::sum, Reduction::none}) {
            term.reduction = reduction;
            const auto all = logits.clone().requires_grad_(),
                       part = logits.index_select(0, kept).requires_grad_();
            const auto value = loss(all, teacher, target, term);
            const auto expected =
                loss(part, teacher.index_select(0, kept), target.index_select(0, kept), term);
            if (reduction == Reduction::none) {
                CHECK(value.sizes() == at::IntArrayRef({6}));
                CHECK(close(value.index_select(0, kept), expected, 1e-12));
                CHECK(value[1].template item<double>() == 0);
                CHECK(value[4].template item<double>() == 0);
            } else {
                CHECK(close(value, expected, 1e-12));
            }
            value.sum().backward();
            expected.sum().backward();
            CHECK(close(all.grad().index_select(0, kept), part.grad(), 1e-12));
            CHECK(all.grad().index_select(0, torch::tensor({1, 4})).abs().max().template item<double>() == 0);
        }
        // Another index.
        term.reduction = Reduction::batchmean;
        term.ignore_index = 255;
        CHECK(close(loss(logits, teacher, target.masked_fill(target == -100, 255), term),
                    loss(logits.index_select(0, kept), teacher.index_select(0, kept),
                         target.index_select(0, kept), term),
                    1e-12));
    });
}

TEST_CASE("a batch in which every target is ignored has the loss 0 and no gradient") {
    torch::manual_seed(2);
    const auto teacher = torch::randn({3, 4});
    const auto target = torch::full({3}, -100, torch::kLong);
    each_loss([&](const std::string& name, auto term, const auto& loss) {
        INFO(name);
        for (const Reduction reduction : {Reduction::batchmean, Reduction::mean, Reduction::sum}) {
            term.reduction = reduction;
            const auto logits = torch::randn({3, 4}).requires_grad_();
            const auto value = loss(logits, teacher, target, term);
            CHECK(value.template item<double>() == 0);
            value.backward();
            CHECK(same(logits.grad(), torch::zeros({3, 4})));
        }
    });
}

TEST_CASE("weights by class leave ignored targets out") {
    const retort::ClassWeights filter{torch::tensor({0.5, 2.0})};
    const PairBatch batch{torch::rand({3, 2}), torch::tensor({1, -100, 0})};
    CHECK(same(filter(torch::rand({3, 2}), torch::rand({3, 2}), batch), torch::tensor({2.0F, 0.0F, 0.5F})));
    const retort::ClassWeights mask{torch::tensor({true, true})};
    CHECK(same(mask(torch::rand({3, 2}), torch::rand({3, 2}), batch), torch::tensor({true, false, true})));
}

}  // namespace ignored_test
