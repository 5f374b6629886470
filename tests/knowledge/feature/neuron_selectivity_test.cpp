// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/neuron_selectivity.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace neuron_selectivity_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;

namespace {

/// The formula as written, with all pairs of channels.
torch::Tensor by_pairs(const torch::Tensor& student, const torch::Tensor& teacher) {
    const auto maps = [](const torch::Tensor& feature) {
        const auto flat = feature.flatten(2);
        return flat / flat.norm(2, 2, true).clamp_min(1e-12);
    };
    const auto kernel = [](const torch::Tensor& x, const torch::Tensor& y) {
        return (x.unsqueeze(2) * y.unsqueeze(1)).sum(-1).pow(2).mean({1, 2});
    };
    const auto s = maps(student), t = maps(teacher);
    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t);
}

}  // namespace

TEST_CASE("neuron_selectivity agrees with RepDistiller") {
    for (const golden::Case& reference : golden::cases("nst__repdistiller")) {
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        auto value = functional::neuron_selectivity(student[0], teacher[0]);
        for (std::size_t i = 1; i < student.size(); ++i)
            value = value + functional::neuron_selectivity(student[i], teacher[i]);
        CHECK(golden::agrees(reference, value, {{"feat_s", student}}));
    }
}

TEST_CASE("neuron_selectivity: both ways to compute it agree with the formula") {
    // Few positions and many channels, and the reverse.
    for (const std::int64_t side : {2, 7}) {
        const auto student = torch::randn({3, 12, side, side}, torch::kFloat64).requires_grad_();
        const auto teacher = torch::randn({3, 9, side, side}, torch::kFloat64);
        const auto found =
            functional::neuron_selectivity(student, teacher, {.reduction = retort::Reduction::none});
        const auto expected = by_pairs(student, teacher);
        CHECK(close(found, expected, 1e-10));
        CHECK(close(torch::autograd::grad({found.sum()}, {student})[0],
                    torch::autograd::grad({expected.sum()}, {student})[0], 1e-9));
        CHECK(functional::neuron_selectivity(teacher, teacher).item<double>() == 0);
    }
}

TEST_CASE("neuron_selectivity never has a tensor of channels x channels x positions") {
    const auto student = torch::randn({8, 64, 8, 8}).requires_grad_();
    const auto teacher = torch::randn({8, 128, 8, 8});
    static std::int64_t largest;  // 8 x 64 x 128 x 64 values would be 4,194,304
    largest = 0;
    const auto handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(
            [](const at::RecordFunction&) { return std::unique_ptr<at::ObserverContext>(); },
            [](const at::RecordFunction& function, at::ObserverContext*) {
                for (const c10::IValue& output : function.outputs()) {
                    if (output.isTensor() && output.toTensor().defined())
                        largest = std::max(largest, output.toTensor().numel());
                }
            })
            .needsOutputs(true)
            .scopes({at::RecordScope::FUNCTION}));
    functional::neuron_selectivity(student, teacher).backward();
    at::removeCallback(handle);
    CHECK(largest > 0);
    CHECK(largest <= 8 * 128 * 128);
}

TEST_CASE("neuron_selectivity: a dead channel and a dead feature have finite gradients") {
    auto feature = torch::randn({3, 4, 5, 5});
    feature.select(1, 2).zero_();
    feature[0].zero_();
    feature.requires_grad_();
    functional::neuron_selectivity(feature, torch::randn({3, 2, 5, 5})).backward();
    CHECK(feature.grad().isfinite().all().item<bool>());
    CHECK(feature.grad()[1].abs().max().item<float>() > 0);
}

TEST_CASE("NeuronSelectivity reads its taps") {
    const auto student = torch::randn({2, 3, 4, 4}), teacher = torch::randn({2, 5, 2, 2});
    const retort::NeuronSelectivity term{body, stage3};
    CHECK(same(term(small(student), big(teacher), torch::Tensor()),
               functional::neuron_selectivity(student, teacher)));
    const auto found = message<retort::ShapeError>(
        [&] { term(small(student), big(torch::randn({3, 5, 2, 2})), torch::Tensor()); });
    CHECK(found.find("neuron_selectivity(body->stage3)") != std::string::npos);
    CHECK(found.find("[3, 5, 2, 2]") != std::string::npos);
}

}  // namespace neuron_selectivity_test
