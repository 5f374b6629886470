// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/core/no_outputs.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/universal_self_kd.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace universal_self_kd_test {

using namespace retort_test;
using retort::Reduction;
using retort::UniversalSelfKd;
using retort::functional::universal_self_kd;
using Options = retort::UniversalSelfKdOptions;

namespace {
struct HeadedOutputs {
    torch::Tensor logits, pooled;
};
using LabeledBatch = std::pair<torch::Tensor, torch::Tensor>;
}  // namespace

TEST_CASE("universal_self_kd keeps the laws") {
    for (const Options& options : {Options::image_net(), Options::cifar(), Options::as_released()}) {
        laws::Loss loss;
        loss.name = "universal_self_kd";
        loss.value = [options](const laws::Arguments& arguments, Reduction reduction) {
            Options now = options;
            now.reduction = reduction;
            return universal_self_kd(arguments.student.at(0), arguments.student.at(1), arguments.target, now);
        };
        loss.sample = [](std::int64_t batch) {
            laws::Arguments result = laws::random_logits()(batch);
            result.student.push_back(result.teacher.at(0));  // the weak head's
            result.teacher.clear();
            return result;
        };
        loss.reductions = {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum};
        loss.elements = 1;
        loss.whole_gradient = false;  // weights and soft labels are constants
        loss.never_negative = true;
        laws::hold(loss);
    }
}

TEST_CASE("universal_self_kd as released agrees with cls_KD's USKD") {
    for (const golden::Case& reference : golden::cases("uskd__cls_kd")) {
        const auto student = reference.leaf("logits_student"), feature = reference.leaf("feat_mid");
        const auto weight = reference.leaf("fc.weight"), bias = reference.leaf("fc.bias");
        Options options = Options::as_released();
        options.target_weight = reference.option("alpha");
        options.non_target_weight = reference.option("beta");
        options.weak_weight = reference.option("mu");
        const auto value = universal_self_kd(student, torch::nn::functional::linear(feature, weight, bias),
                                             reference.input("target"), options);
        CHECK(golden::agrees(reference, value,
                             {{"logits_student", {student}},
                              {"feat_mid", {feature}},
                              {"fc.weight", {weight}},
                              {"fc.bias", {bias}}}));
    }
}

TEST_CASE("universal_self_kd ranks by probabilities: computed manually") {
    // The student finds class 1 likelier than 2, the weak head the other way round, and more so.
    const auto p = torch::tensor({{0.5, 0.3, 0.2}}, torch::kFloat64),
               q = torch::tensor({{0.5, 0.1, 0.4}}, torch::kFloat64);
    const auto target = torch::tensor({0}, torch::kLong);
    const auto found = universal_self_kd(p.log(), q.log(), target,
                                         {.target_weight = 0, .non_target_weight = 1, .weak_weight = 0});
    // q / 0.5 + p / 0.5: class 0 has 2, class 1 has 0.8, class 2 has 1.2. Ranks 1, 3, 2; Zipf 1/3 and 1/2
    // give 0.4, 0.6.
    CHECK(close(found, torch::tensor(-0.4 * std::log(0.6) - 0.6 * std::log(0.4), torch::kFloat64), 1e-10));
    const auto of_target =
        universal_self_kd(p.log(), q.log(), target, {.non_target_weight = 0, .weak_weight = 0});
    CHECK(
        close(of_target, torch::tensor(-std::log(0.5), torch::kFloat64), 1e-12));  // a batch of one: weight 1
}

TEST_CASE("universal_self_kd treats one-hot targets like indices, unless as released") {
    torch::manual_seed(6);
    const auto student = torch::randn({4, 5}, torch::kFloat64), weak = torch::randn({4, 5}, torch::kFloat64);
    const auto target = torch::tensor({1, 0, 4, 2}, torch::kLong);
    const auto one_hot = torch::nn::functional::one_hot(target, 5).to(torch::kFloat64);
    CHECK(close(universal_self_kd(student, weak, one_hot), universal_self_kd(student, weak, target), 1e-12));
    CHECK_FALSE(close(universal_self_kd(student, weak, one_hot, Options::as_released()),
                      universal_self_kd(student, weak, target, Options::as_released()), 1e-6));
    const auto mixed = 0.6 * one_hot + 0.4 * one_hot.roll(1, 0);
    CHECK(torch::isfinite(universal_self_kd(student, weak, mixed)).item<bool>());
}

TEST_CASE("the term UniversalSelfKd builds its weak head from the first batch and trains it") {
    torch::manual_seed(7);
    UniversalSelfKd term{retort::tap<&HeadedOutputs::pooled>};
    CHECK_FALSE(term.prepared());
    const HeadedOutputs outputs{torch::randn({4, 3}).requires_grad_(), torch::randn({4, 6}).requires_grad_()};
    const LabeledBatch batch{torch::Tensor(), torch::tensor({0, 2, 1, 2}, torch::kLong)};
    CHECK_THROWS_AS(term(outputs, retort::NoOutputs{}, batch), retort::ConfigError);
    const retort::NoOutputs* no_teacher = nullptr;
    term.prepare(outputs, no_teacher, batch);
    REQUIRE(term.prepared());
    const auto parameters = term.module()->named_parameters();
    CHECK(parameters["weight"].sizes() == torch::IntArrayRef({3, 6}));
    const auto value = term(outputs, retort::NoOutputs{}, batch);
    value.backward();
    CHECK(same(value, universal_self_kd(outputs.logits,
                                        torch::nn::functional::linear(outputs.pooled, parameters["weight"],
                                                                      parameters["bias"]),
                                        batch.second)));
    for (const auto& each : {outputs.logits, outputs.pooled, parameters["weight"], parameters["bias"]}) {
        CHECK(each.grad().abs().sum().item<double>() > 0);
    }
    CHECK(term.name() == "universal_self_kd(pooled)");
    const HeadedOutputs unpooled{outputs.logits, torch::randn({4, 6, 2, 2})};
    CHECK_THROWS_AS(term(unpooled, retort::NoOutputs{}, batch), retort::ShapeError);
    CHECK_THROWS_AS((Options{.weak_weight = -1}.check()), retort::ConfigError);
    CHECK_THROWS_AS((Options{.label_smoothing = 2}.check()), retort::ConfigError);
}

}  // namespace universal_self_kd_test
