// SPDX-License-Identifier: BSL-1.0
/// \file
/// Students that share a stem: whose gradients reach it, and the outputs of their ensemble.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/network/stem_ensemble.hpp>

namespace stem_ensemble_test {

using namespace retort_test;

namespace {
auto ensemble_of(retort::StemEnsembleOptions options = {}) {
    using namespace torch::nn;
    std::vector<Sequential> students;
    for (int j = 0; j < 3; ++j) {
        students.emplace_back(Conv2d(ConvNetImpl::conv(4, 6 - j)),
                              AdaptiveAvgPool2d(AdaptiveAvgPool2dOptions(1)), Flatten(), Linear(6 - j, 3));
    }
    return retort::stem_ensemble(Conv2d(ConvNetImpl::conv(1, 4)), students, options);
}
}  // namespace

TEST_CASE("the stem is trained by all students or by the first") {
    const auto batch = images(1)[0];
    const auto gradient = [&](retort::StemGradient option, std::size_t student) {
        torch::manual_seed(8);
        const auto net = ensemble_of({.gradient = option});
        net->forward(batch.first).students[student].square().sum().backward();
        const auto& stem = net->stem()->weight.grad();
        return stem.defined() ? stem.abs().sum().item<double>() : 0.0;
    };
    for (std::size_t j = 0; j < 3; ++j) {
        CHECK(gradient(retort::StemGradient::all, j) > 0);
        CHECK((gradient(retort::StemGradient::first, j) > 0) == (j == 0));
    }
}

TEST_CASE("an ensemble outputs the mean of its students, initially also with learnable weights") {
    torch::manual_seed(9);
    const auto batch = images(1)[0];
    for (const bool learnable : {false, true}) {
        const auto outputs = ensemble_of({.weights = {.learnable = learnable}})->forward(batch.first);
        CHECK(close(outputs.logits, torch::stack(outputs.students).mean(0), 1e-5, 1e-6));
    }
}

}  // namespace stem_ensemble_test
