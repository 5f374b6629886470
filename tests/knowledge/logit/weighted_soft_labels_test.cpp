// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/weighted_soft_labels.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace weighted_soft_labels_test {

using namespace retort_test;
using retort::Reduction;
using retort::WeightedSoftLabels;

TEST_CASE("weighted_soft_labels keeps the laws") {
    for (const WeightedSoftLabels& term : {WeightedSoftLabels::cifar(), WeightedSoftLabels::mm_razor()}) {
        auto loss =
            laws::of_term(term, {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
        loss.elements = 1;
        loss.never_negative = true;
        loss.whole_gradient = false;  // the weights are constants
        laws::hold(loss);
    }
}

TEST_CASE("weighted_soft_labels agrees with cls_KD's WSLD") {
    for (const golden::Case& reference : golden::cases("wsld__cls_kd")) {
        const auto student = reference.leaf("logits_student");
        const auto value = reference.option("alpha") * retort::functional::weighted_soft_labels(
                                                           student, reference.input("logits_teacher"),
                                                           reference.input("target"),
                                                           {.temperature = reference.option("T")});
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("weighted_soft_labels refuses invalid options") {
    CHECK_THROWS_AS((WeightedSoftLabels{.temperature = 0}.check()), retort::ConfigError);
    CHECK_THROWS_AS((WeightedSoftLabels{.epsilon = 0}.check()), retort::ConfigError);
}

}  // namespace weighted_soft_labels_test
