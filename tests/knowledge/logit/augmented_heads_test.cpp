// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/augmented_heads.hpp>
#include <retort/tap/taps.hpp>

#include <golden.hpp>
#include <small_networks.hpp>

namespace augmented_heads_test {

using namespace retort_test;
using retort::functional::augmented_cross_entropy;
using retort::functional::augmented_soft_target;
using retort::functional::cross_entropy;
using retort::functional::joint_labels;
using retort::functional::plain_views;

namespace {

std::vector<torch::Tensor> all_heads(const torch::Tensor& main, std::vector<torch::Tensor> others) {
    others.insert(others.begin(), main);
    return others;
}

/// The outputs of the networks of these tests.
struct Views {
    torch::Tensor logits;
    std::vector<torch::Tensor> heads;
};
struct Head {
    std::size_t index;
    torch::Tensor operator()(const Views& outputs) const { return outputs.heads.at(index); }
    std::string name() const { return retort::detail::concat("head", index); }
};
struct MainHead {
    torch::Tensor operator()(const Views& outputs) const { return outputs.logits; }
    static std::string name() { return "logits"; }
};

}  // namespace

TEST_CASE("augmented_cross_entropy agrees with HSAKD's teacher") {
    for (const golden::Case& reference : golden::cases("hsakd_teacher__hsakd")) {
        const auto logits = reference.leaf("logits");
        const auto heads = reference.leaves("aux_logits");
        const auto target = reference.input("target");
        const auto value =
            cross_entropy(plain_views(logits), target) + augmented_cross_entropy(heads, target);
        CHECK(golden::agrees(reference, value, {{"logits", {logits}}, {"aux_logits", heads}}));
    }
}

TEST_CASE("augmented_soft_target agrees with HSAKD's student") {
    for (const golden::Case& reference : golden::cases("hsakd_student__hsakd")) {
        const auto logits = reference.leaf("logits_student");
        const auto heads = reference.leaves("aux_logits_student");
        const auto target = reference.input("target");
        const retort::AugmentedSoftTargetOptions options{.temperature = reference.option("T")};
        const auto value = cross_entropy(plain_views(logits), target) +
                           augmented_soft_target(all_heads(logits, heads),
                                                 all_heads(reference.input("logits_teacher"),
                                                           reference.inputs("aux_logits_teacher")),
                                                 options);
        CHECK(same(joint_labels(target), reference.component("joint_labels").to(torch::kLong)));
        CHECK(
            golden::agrees(reference, value, {{"logits_student", {logits}}, {"aux_logits_student", heads}}));
    }
}

TEST_CASE("two peers of augmented heads agree with HSAKD's online training") {
    for (const golden::Case& reference : golden::cases("hsakd_online__hsakd")) {
        const torch::Tensor logits[2] = {reference.leaf("logits_0"), reference.leaf("logits_1")};
        const std::vector<torch::Tensor> heads[2] = {reference.leaves("aux_logits_0"),
                                                     reference.leaves("aux_logits_1")};
        const auto target = reference.input("target");
        const retort::AugmentedSoftTargetOptions options{.temperature = reference.option("T")};
        torch::Tensor value = torch::zeros({}, torch::kFloat64);
        for (int peer = 0; peer < 2; ++peer) {
            const int other = 1 - peer;
            value = value + cross_entropy(plain_views(logits[peer]), target) +
                    augmented_cross_entropy(heads[peer], target) +
                    augmented_soft_target(all_heads(logits[peer], heads[peer]),
                                          all_heads(logits[other], heads[other]), options);
        }
        CHECK(golden::agrees(reference, value,
                             {{"logits_0", {logits[0]}},
                              {"logits_1", {logits[1]}},
                              {"aux_logits_0", heads[0]},
                              {"aux_logits_1", heads[1]}}));
    }
}

TEST_CASE("cross-entropies, hints and soft targets from the students' mean agree with BOC-KD's") {
    for (const golden::Case& reference : golden::cases("bockd__bockd")) {
        const auto logits = reference.leaves("logits");
        const auto maps = reference.leaves("maps");  // of every student, block after block
        const auto students = static_cast<std::size_t>(reference.option("students"));
        const auto blocks = static_cast<std::size_t>(reference.option("blocks"));
        const auto ratios = reference.option_list("ratios");
        const double temperature = reference.option("T");
        const bool finite = torch::isfinite(reference.value()).item<bool>();
        golden::Tensors leaves{{"logits", logits}, {"maps", maps}};
        torch::Tensor hard = torch::zeros({}, torch::kFloat64), hints = hard, soft = hard;
        const auto mean = torch::stack(logits).mean(0);
        for (const torch::Tensor& each : logits) {
            hard = hard + cross_entropy(each, reference.input("target"));
            soft = soft + retort::functional::soft_target(each, mean, {.temperature = temperature});
        }
        for (std::size_t block = 0; block < blocks; ++block) {
            for (std::size_t student = 1; student < students; ++student) {
                auto map = maps.at(block * students + student), goal = maps.at(block * students);
                if (reference.option("adaptation") == 1) {
                    const auto name = retort::detail::concat("adapt.block", block, ".student", student);
                    const auto weight = reference.leaf(name + ".weight"),
                               bias = reference.leaf(name + ".bias");
                    leaves[name + ".weight"] = {weight};
                    leaves[name + ".bias"] = {bias};
                    map = torch::conv2d(map, weight, bias);
                } else {  // means over the channels, whose numbers may differ
                    map = map.mean(1);
                    goal = goal.mean(1);
                }
                hints = hints + retort::functional::hint(map, goal);
            }
        }
        const auto value = ratios[0] * hard + ratios[1] * hints + ratios[2] * soft;
        if (finite) {
            CHECK(golden::agrees(reference, value, leaves));
        } else {  // 0 log 0 in its explicit entropy
            CHECK(torch::isfinite(value).item<bool>());
            const auto hard_parts = torch::stack(reference.components("ce_ensemble_then_students"));
            CHECK(close(hard, hard_parts.slice(0, 1).sum(), 1e-8));
            CHECK(close(hints, reference.component("intermediate"), 1e-8));
        }
    }
}

TEST_CASE("views and joint labels computed manually, and mismatches") {
    CHECK(same(joint_labels(torch::tensor({2, 0}, torch::kLong), 3),
               torch::tensor({6, 7, 8, 0, 1, 2}, torch::kLong)));
    CHECK(same(plain_views(torch::arange(6).view({6, 1}), 3),
               torch::tensor({0, 3}, torch::kLong).view({2, 1})));
    CHECK(words_of<retort::ShapeError>([] { plain_views(torch::zeros({5, 2}), 4); }) ==
          "plain_views: expected 4 consecutive views of each sample, found [5, 2]");
    CHECK_THROWS_AS(plain_views(torch::zeros({4, 2}), 0), retort::ConfigError);
    CHECK_THROWS_AS(joint_labels(torch::zeros({4})), retort::ShapeError);
    CHECK_THROWS_AS(augmented_soft_target({torch::zeros({4, 2})}, {}), retort::ShapeError);
    CHECK_THROWS_AS(augmented_cross_entropy({}, torch::zeros({1}, torch::kLong)), retort::ShapeError);
    CHECK_THROWS_AS(augmented_soft_target({torch::zeros({4, 2})}, {torch::zeros({4, 2})}, {.temperature = 0}),
                    retort::ConfigError);
}

TEST_CASE("the terms are the functions on the tapped heads") {
    torch::manual_seed(1);
    const auto outputs = [] {
        return Views{torch::randn({8, 3}), {torch::randn({8, 12}), torch::randn({8, 12})}};
    };
    const Views student = outputs(), teacher = outputs();
    const std::pair batch(torch::Tensor(), torch::tensor({2, 0}, torch::kLong));
    const retort::Taps taps{MainHead{}, Head{0}, Head{1}};
    const retort::AugmentedSoftTarget soft{taps, taps};
    CHECK(soft.name() == "augmented_soft_target(logits+head0+head1->logits+head0+head1)");
    CHECK(
        same(soft(student, teacher, batch), augmented_soft_target(all_heads(student.logits, student.heads),
                                                                  all_heads(teacher.logits, teacher.heads))));
    const retort::AugmentedCrossEntropy hard{retort::Taps{Head{0}, Head{1}}};
    CHECK(same(hard(student, retort::NoOutputs{}, batch),
               augmented_cross_entropy(student.heads, batch.second)));
    const retort::OnPlainViews plain{retort::CrossEntropy{}, 4};
    CHECK(plain.name() == "cross_entropy_on_plain_views");
    CHECK(same(plain(student, retort::NoOutputs{}, batch, retort::Progress{}),
               cross_entropy(plain_views(student.logits), batch.second)));
    const retort::OnPlainViews both{retort::SoftTarget{}, 4};
    CHECK(same(both(student, teacher, batch, retort::Progress{}),
               retort::functional::soft_target(plain_views(student.logits), plain_views(teacher.logits))));
    CHECK_THROWS_AS((retort::OnPlainViews<retort::CrossEntropy>{{}, 0}.check()), retort::ConfigError);
}

}  // namespace augmented_heads_test
