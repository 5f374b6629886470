// SPDX-License-Identifier: BSL-1.0
/// \file
/// Layer maps, and the information flow of several layers at once.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/knowledge/flow/matched_information_flow.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/trainer/objective.hpp>

#include <golden.hpp>

namespace layer_map_test {

using namespace retort_test;
using retort::ConfigError;
using retort::InformationFlowOptions;
using retort::LayerMap;
using retort::MatchedInformationFlowOptions;
using retort::functional::information_flow;
using retort::functional::matched_information_flow;

TEST_CASE("the nearest layer is that of nearest information content") {
    // 0.4 lies nearest to 0.5, 0.8 between 0.5 and 1.1 (the shallower of equals), 0.9 nearest to 1.1.
    const retort::InformationFlowVector teacher{0.1, 0.5, 1.125, 2.0};
    CHECK(LayerMap::nearest({0.4, 0.8125, 0.9}, teacher, {.last_to_last = false}) == LayerMap{1, 1, 2});
    CHECK(LayerMap::nearest({0.4, 0.8125, 0.9}, teacher) == LayerMap{1, 1, 3});
    CHECK(LayerMap::one_to_one(3) == LayerMap{0, 1, 2});
    CHECK(LayerMap::nearest(teacher, teacher) == LayerMap::one_to_one(4));
    CHECK(retort::flow_vector_divergence({0.4, 0.9}, teacher, {1, 3}) == Approx(0.01 + 1.21));
    CHECK(retort::flow_vector_divergence(teacher, teacher, LayerMap::one_to_one(4)) == 0.0);
}

TEST_CASE("a layer map refuses mismatches") {
    CHECK(holds(words_of<ConfigError>([] { LayerMap::nearest({}, {1.0}); }),
                "layers of the student, found none"));
    CHECK(holds(words_of<ConfigError>([] { LayerMap::nearest({1.0}, {}); }),
                "layers of the teacher, found none"));
    CHECK(holds(words_of<ConfigError>([] { LayerMap::nearest({1.0}, {NAN}); }),
                "expected finite information contents of the teacher, found nan"));
    CHECK(holds(words_of<ConfigError>([] { retort::flow_vector_divergence({1, 2}, {1, 2}, {0}); }),
                "expected a map for the 2 layers of the student, found one for 1"));
    CHECK(holds(words_of<ConfigError>([] { retort::flow_vector_divergence({1, 2}, {1, 2}, {0, 2}); }),
                "expected a map to the teacher's layers below 2, found 2 for the student's layer 1"));
}

TEST_CASE("matched information flow is the authors' sum over layers, with their weights and with a map") {
    std::size_t compared = 0;
    for (const golden::Case& reference : golden::cases("ifm__pkth")) {
        if (!reference.has_option("layers")) continue;
        const auto student = reference.leaves("feat_s");
        const auto layers = reference.option_list("layers");
        std::vector<double> weights(student.size(), 0.0);
        for (std::size_t i = 0; i < layers.size(); ++i) {
            weights[static_cast<std::size_t>(layers[i])] = reference.option_list("layer_weights")[i];
        }
        const auto value =
            matched_information_flow(student, reference.inputs("feat_t"), {.weights = weights});
        CHECK(golden::agrees(reference, value, {{"feat_s", student}}));
        ++compared;
    }
    CHECK(compared > 0);

    auto generator = at::detail::createCPUGenerator(1);
    const auto layer = [&](std::int64_t width) {
        return torch::randn({6, width}, generator, torch::kFloat64);
    };
    const std::vector<torch::Tensor> student{layer(3), layer(4)}, teacher{layer(5), layer(2), layer(7)};
    for (const auto& each : {InformationFlowOptions::released(), InformationFlowOptions::paper()}) {
        const auto value = matched_information_flow(
            student, teacher, {.layer = each, .map = LayerMap{2, 2}, .weights = {0.5, 3.0}});
        const auto expected = 0.5 * information_flow(student[0], teacher[2], each) +
                              3.0 * information_flow(student[1], teacher[2], each);
        CHECK(close(value, expected, 1e-12));
        CHECK(value.item<double>() > 0);
    }
    // 6 samples: 30 pairs summed instead of the mean over 36, and other probabilities.
    const auto released = matched_information_flow(student, teacher, {.map = LayerMap{0, 1}});
    const auto paper = matched_information_flow(
        student, teacher, {.layer = InformationFlowOptions::paper(), .map = LayerMap{0, 1}});
    CHECK(paper.item<double>() > 20 * released.item<double>());
}

TEST_CASE("matched information flow is a term on two lists of taps") {
    ConvNet student(2), teacher(4);
    const retort::Taps taps{retort::tap<&ConvOutputs::early>, retort::tap<&ConvOutputs::late>};
    const retort::MatchedInformationFlow term{taps, taps, {.weights = {2.0, 1.0}}};
    CHECK(term.name() == "matched_information_flow(early+late->early+late)");
    const auto batch = images(1).front();
    const auto theirs = teacher->forward(batch.first), own = student->forward(batch.first);
    const retort::Objective objective{retort::Knowledge{term}, retort::Schedule{1.0}};
    const auto loss = objective(own, theirs, batch);
    CHECK(
        close(loss, 2 * information_flow(own.early, theirs.early) + information_flow(own.late, theirs.late)));
    loss.backward();
    CHECK(student->first->weight.grad().abs().sum().item<double>() > 0);
    CHECK_FALSE(teacher->first->weight.grad().defined());
}

TEST_CASE("matched information flow refuses mismatches") {
    const std::vector<torch::Tensor> two{torch::rand({3, 2}), torch::rand({3, 2})}, one{torch::rand({3, 2})};
    const auto refusal = [&](const auto& student, const auto& teacher,
                             const MatchedInformationFlowOptions& options) {
        return words_of<ConfigError>([&] { matched_information_flow(student, teacher, options); });
    };
    CHECK(holds(refusal(two, one, {}),
                "expected as many layers of student and teacher, or a map, found 2 and 1"));
    CHECK(
        holds(refusal(two, one, {.map = LayerMap{0, 1}}), "expected a map to the teacher's layers below 1"));
    CHECK(holds(refusal(two, two, {.weights = {1.0}}), "expected a weight for each of the 2 layers"));
    CHECK(holds(refusal(two, two, {.weights = {1.0, NAN}}),
                "MatchedInformationFlow: expected a finite weight, found nan"));
    CHECK(holds(refusal(two, two, {.weights = {0.0, 0.0}}), "a weight other than 0, found none"));
    CHECK(holds(words_of<ConfigError>([&] { matched_information_flow(two, two, {.layer = {.epsilon = 0}}); }),
                "InformationFlow: expected an epsilon above 0"));
}

}  // namespace layer_map_test
