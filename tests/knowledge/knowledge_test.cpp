// SPDX-License-Identifier: BSL-1.0
/// \file
/// Several terms, scheduled temperatures, and sums.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/knowledge/adaptor/filtered.hpp>
#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/adaptor/tempered.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/schedule.hpp>

namespace knowledge_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Hint;
using retort::Knowledge;
using retort::SoftTarget;
using retort::tap;

namespace {
template <int Number>
struct Named {
    static constexpr bool needs_teacher = false, needs_target = false;
    std::string called;
    torch::Tensor operator()(const auto&, const auto&, const auto&) const {
        return torch::tensor(double(Number));
    }
    std::string name() const { return called; }
};
struct Unnamed {
    static constexpr bool needs_teacher = false, needs_target = false;
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return retort::logits(student).sum();
    }
};
/// Has a temperature and a learnable part.
struct Projected {
    static constexpr bool needs_teacher = true, needs_target = false;
    double temperature = 1.0;
    std::shared_ptr<torch::nn::LinearImpl> projector{};
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return projector->forward(student).sum() * temperature;
    }
    bool prepared() const { return projector != nullptr; }
    void prepare(const torch::Tensor& student, const auto*, const auto&) {
        projector = std::make_shared<torch::nn::LinearImpl>(student.size(1), 1);
    }
    std::shared_ptr<torch::nn::Module> module() const { return projector; }
};
}  // namespace

TEST_CASE("terms are named by themselves or by their type; equal names are numbered") {
    CHECK(Knowledge{CrossEntropy{}, Unnamed{}}.names() ==
          std::array<std::string, 2>{"cross_entropy", "Unnamed"});
    CHECK(Knowledge{SoftTarget{}, CrossEntropy{}, SoftTarget{}, SoftTarget{}}.names() ==
          std::array<std::string, 4>{"soft_target", "cross_entropy", "soft_target_2", "soft_target_3"});
    CHECK(Knowledge{Named<0>{"a"}, Named<1>{"a_2"}, Named<2>{"a"}}.names() ==
          std::array<std::string, 3>{"a", "a_2", "a_3"});
    CHECK(Knowledge{Named<0>{"a"}, Named<1>{"a"}, Named<2>{"a_2"}}.names() ==
          std::array<std::string, 3>{"a", "a_2", "a_2_2"});
}

TEST_CASE("options are checked when terms are composed") {
    CHECK_THROWS_AS((Knowledge{CrossEntropy{}, SoftTarget{.temperature = -1.0}}), retort::ConfigError);
    CHECK_THROWS_AS((Knowledge{CrossEntropy{.label_smoothing = 2.0}}), retort::ConfigError);
    CHECK_NOTHROW(Knowledge<CrossEntropy, SoftTarget>());
}

TEST_CASE("learnable parts form one module, named by the position of the term") {
    const Hint hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, retort::Conv1x1{4, 6}};
    Hint unsized{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}};
    Knowledge knowledge{CrossEntropy{}, hint, unsized};
    CHECK_FALSE(knowledge.prepared());
    REQUIRE(knowledge.parameters().size() == 2);
    CHECK(knowledge.module()->named_parameters().keys() ==
          std::vector<std::string>{"term1.convolution.weight", "term1.convolution.bias"});
    CHECK(knowledge.parameters()[0].is_same(hint.module()->parameters()[0]));
    const ConvOutputs student{{}, torch::rand({2, 4, 5, 5}), torch::rand({2, 3, 5, 5})},
        teacher{{}, {}, torch::rand({2, 6, 5, 5})};
    knowledge.prepare(student, &teacher, torch::Tensor());
    CHECK(knowledge.prepared());
    CHECK(knowledge.parameters().size() == 4);
    CHECK(unsized.prepared());  // a copy shares the learnable parts
    CHECK(Knowledge{CrossEntropy{}}.parameters().empty());
}

TEST_CASE("a prepared knowledge needs no teacher for another batch") {
    Knowledge knowledge{CrossEntropy{},
                        Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, retort::Conv1x1{4, 6}}};
    REQUIRE(knowledge.prepared());
    const ConvOutputs student{{}, torch::rand({2, 4, 5, 5}, torch::kFloat64), {}};
    knowledge.prepare(student, static_cast<const ConvOutputs*>(nullptr), torch::Tensor());
    CHECK(knowledge.parameters()[0].scalar_type() == torch::kFloat64);
}

TEST_CASE("a temperature can follow a schedule") {
    torch::manual_seed(1);
    const auto student = torch::randn({2, 3}), teacher = torch::randn({2, 3});
    const retort::Tempered term{SoftTarget{.reduction = retort::Reduction::sum},
                                retort::Linear{.initial = 8.0, .final = 2.0, .epochs = 3}};
    for (const auto& [epoch, temperature] : {std::pair{0, 8.0}, {1, 6.0}, {3, 2.0}, {9, 2.0}}) {
        CHECK(same(term(student, teacher, torch::Tensor(), {.epoch = epoch}),
                   retort::functional::soft_target(
                       student, teacher, {.temperature = temperature, .reduction = retort::Reduction::sum})));
    }
    CHECK(term.name() == "soft_target");
    CHECK_THROWS_AS((Knowledge{retort::Tempered{SoftTarget{}, retort::Linear{.epochs = -1}}}),
                    retort::ConfigError);
    CHECK_THROWS_AS((Knowledge{retort::Tempered{SoftTarget{.temperature = 0}, retort::Constant{2.0}}}),
                    retort::ConfigError);
    const retort::Tempered cold{SoftTarget{}, retort::Constant{0.0}};
    CHECK(holds(words_of<retort::ConfigError>([&] { cold(student, teacher, torch::Tensor(), {}); }),
                "expected a temperature above 0, found 0"));
}

TEST_CASE("the learnable part of a term with a scheduled temperature is still trained") {
    Knowledge knowledge{retort::Tempered{Projected{}, retort::Constant{3.0}}};
    CHECK_FALSE(knowledge.prepared());
    const auto student = torch::rand({2, 5}), teacher = torch::rand({2, 5});
    knowledge.prepare(student, &teacher, torch::Tensor());
    REQUIRE(knowledge.prepared());
    const auto parameters = knowledge.parameters();
    REQUIRE(parameters.size() == 2);
    std::get<0>(knowledge.terms())(student, teacher, torch::Tensor(), {}).backward();
    CHECK(close(parameters[1].grad(), torch::tensor({6.0F})));
}

TEST_CASE("a sum of terms is one term") {
    torch::manual_seed(2);
    const auto student = torch::randn({2, 3}), teacher = torch::randn({2, 3});
    const std::pair batch{torch::rand({2, 4}), torch::tensor({0, 2})};
    const retort::Sum sum{CrossEntropy{}, SoftTarget{}};
    STATIC_REQUIRE((decltype(sum)::needs_teacher && decltype(sum)::needs_target));
    const auto hard = retort::functional::cross_entropy(student, batch.second);
    const auto soft = retort::functional::soft_target(student, teacher);
    CHECK(close(sum(student, teacher, batch, {}), hard + soft, 1e-6));
    const retort::Sum weighted{0.5 * CrossEntropy{}, 2.0 * SoftTarget{}};
    CHECK(close(weighted(student, teacher, batch, {}), 0.5 * hard + 2.0 * soft, 1e-6));
    CHECK(weighted.name() == "cross_entropy+soft_target");
    // Weights may follow schedules; a term of weight 0 is not computed, and one weight must not be 0.
    const retort::Sum ending{CrossEntropy{},
                             retort::Linear{.initial = 2.0, .final = 0.0, .epochs = 2} * SoftTarget{}};
    CHECK(close(ending(student, teacher, batch, {.epoch = 1}), hard + soft, 1e-6));
    CHECK(same(ending(student, torch::Tensor(), batch, {.epoch = 2}), hard));
    const retort::Sum over{0.0 * CrossEntropy{}};
    CHECK(holds(words_of<retort::ConfigError>([&] { over(student, teacher, batch, {.epoch = 3}); }),
                "cross_entropy: expected a weight other than 0 in epoch 3, step 0, found none"));
    const retort::Filtered each{
        ending, [](const auto&, const auto&, const auto&) { return torch::tensor({1.0, 0.0}); },
        retort::Reduction::none};
    const auto samples = each(student, teacher, batch, {.epoch = 1});
    CHECK(samples.sizes() == torch::IntArrayRef({2}));
    CHECK(samples[1].item<float>() == 0);
    CHECK(sum.name() == "cross_entropy+soft_target");
    CHECK_THROWS_AS((Knowledge{retort::Sum{std::nan("") * CrossEntropy{}, SoftTarget{}}}),
                    retort::ConfigError);
    CHECK_THROWS_AS((Knowledge{retort::Sum{SoftTarget{.temperature = 0.0}}}), retort::ConfigError);
}

TEST_CASE("the learnable parts of a sum are those of its terms") {
    retort::Sum sum{Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::early>, retort::Conv1x1{4, 6}},
                    Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}}};
    CHECK_FALSE(sum.prepared());
    const ConvOutputs student{{}, torch::rand({2, 4, 5, 5}), torch::rand({2, 3, 5, 5})},
        teacher{{}, torch::rand({2, 6, 5, 5}), torch::rand({2, 7, 5, 5})};
    sum.prepare(student, &teacher, torch::Tensor());
    CHECK(sum.prepared());
    CHECK(sum.module()->parameters().size() == 4);
    CHECK(sum(student, teacher, torch::Tensor(), {}).isfinite().item<bool>());
}

}  // namespace knowledge_test
