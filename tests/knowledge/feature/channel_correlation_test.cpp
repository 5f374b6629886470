// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/channel_correlation.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace channel_correlation_test {

using namespace retort_test;
using namespace feature_test;
namespace functional = retort::functional;
using Options = retort::ChannelCorrelationOptions;

TEST_CASE("ChannelCorrelation agrees with torchdistill under its preset") {
    for (const golden::Case& reference : golden::cases("ickd__torchdistill")) {
        const auto student = small(reference.leaf("feat_s"));
        const auto teacher = big(reference.input("feat_t"));
        if (reference.option("embed") == 1) {
            const golden::Renames renames{{"convolution", "embed.conv2d"}, {"norm", "embed.l2norm"}};
            retort::ChannelCorrelation term{body, stage3,
                                            retort::Convolution{.bias = false, .batch_norm = true},
                                            Options::torchdistill()};
            const auto batch = prepared(term, student, teacher);
            auto leaves = golden::load(*term.module(), reference, renames);
            leaves["feat_s"] = {student.body};
            CHECK(golden::agrees(reference, term(student, teacher, batch), leaves));
            CHECK(golden::statistics_agree(*term.module(), reference, renames));
        } else {
            const auto value =
                functional::channel_correlation(student.body, teacher.stage3, Options::torchdistill());
            CHECK(golden::agrees(reference, value, {{"feat_s", {student.body}}}));
        }
    }
}

TEST_CASE("channel_correlation: a dead channel has no gradient, where the released code has one of 1e10") {
    const auto reference = golden::find("ickd__torchdistill", "dead_channel");
    CHECK(reference.gradients().at("feat_s").at(0).abs().max().item<double>() > 1e8);
    const auto student = reference.leaf("feat_s");
    const auto value = functional::channel_correlation(student, reference.input("feat_t"));
    // The same value, except for the second division by the batch.
    CHECK(golden::deviation(value / static_cast<double>(student.size(0)), reference.value()) < 1e-12);
    const auto gradient = torch::autograd::grad({value}, {student})[0];
    CHECK(gradient.abs().max().item<double>() < 10);
}

TEST_CASE("channel_correlation does not depend on the size of the batch") {
    const auto student = torch::randn({3, 5, 4, 4}, torch::kFloat64);
    const auto teacher = torch::randn({3, 5, 2, 2}, torch::kFloat64);
    const auto once = functional::channel_correlation(student, teacher);
    CHECK(
        close(functional::channel_correlation(torch::cat({student, student}), torch::cat({teacher, teacher})),
              once, 1e-12));
    CHECK(close(
        functional::channel_correlation(student, teacher, {.reduction = retort::Reduction::none}).mean(),
        once, 1e-12));
    const auto found = message<retort::ShapeError>(
        [&] { functional::channel_correlation(student, torch::randn({3, 6, 2, 2})); });
    CHECK(found.find("[3, 6, 2, 2]") != std::string::npos);
}

}  // namespace channel_correlation_test
