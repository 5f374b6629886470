// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/cross_entropy.hpp>

#include <loss_laws.hpp>

namespace cross_entropy_laws_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Reduction;

namespace {
laws::Loss cross_entropy(const CrossEntropy& term) {
    auto loss = laws::of_term(term, {Reduction::batchmean, Reduction::none, Reduction::mean, Reduction::sum});
    loss.sample = laws::without_teacher(loss.sample);
    loss.elements = 1;
    loss.never_negative = true;
    return loss;
}
}  // namespace

TEST_CASE("cross_entropy keeps the laws") { laws::hold(cross_entropy({})); }

TEST_CASE("cross_entropy with smoothed labels keeps the laws") {
    auto loss = cross_entropy({.label_smoothing = 0.1});
    loss.waits = true;  // LibTorch's operator selects the samples that count
    laws::hold(loss);
}

}  // namespace cross_entropy_laws_test
