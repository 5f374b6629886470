// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/relation/correlation_congruence.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace correlation_congruence_test {

using namespace retort_test;
using retort::CorrelationCongruenceOptions;
using retort::Reduction;
namespace functional = retort::functional;

TEST_CASE("correlation_congruence agrees with torchdistill's CCKDLoss") {
    for (const golden::Case& reference : golden::cases("cc__torchdistill")) {
        const auto student = reference.leaf("embedded_s");
        CorrelationCongruenceOptions options;
        if (reference.word("type") == "gaussian") {
            options.gamma = reference.option("gamma");
            options.order = static_cast<std::int64_t>(reference.option("max_p"));
        } else {
            options.kernel = CorrelationCongruenceOptions::Kernel::bilinear;
        }
        options.reduction = reference.word("reduction") == "sum" ? Reduction::sum : Reduction::mean;
        const auto value =
            functional::correlation_congruence(student, reference.input("embedded_t"), options);
        CHECK(golden::agrees(reference, value, {{"embedded_s", {student}}}));
    }
}

TEST_CASE("neighbor_differences agrees with RepDistiller's CC, including embeddings") {
    for (const golden::Case& reference : golden::cases("cc__repdistiller")) {
        golden::Tensors leaves;
        const auto leaf = [&](const std::string& name) {
            leaves[name] = reference.leaves(name);
            return leaves[name].at(0);
        };
        const auto student = leaf("feat_s");
        const auto teacher = reference.input("feat_t");
        if (reference.name() == "equal_embeddings") {
            // One embedding for both; the reference detaches the teacher's side.
            const auto weight = leaf("embed.linear.weight");
            const auto bias = leaf("embed.linear.bias");
            const auto value = functional::neighbor_differences(
                torch::linear(student, weight, bias), torch::linear(teacher, weight, bias).detach());
            CHECK(golden::agrees(reference, value, leaves));
            continue;
        }
        retort::EmbeddingPair embeddings(
            retort::EmbeddingPairOptions{.student = student.size(1),
                                         .teacher = teacher.size(1),
                                         .size = static_cast<std::int64_t>(reference.option("dim"))});
        embeddings->to(torch::kFloat64);
        for (auto& parameter : embeddings->named_parameters()) {
            const auto dot = parameter.key().find('.');
            const std::string name =
                (parameter.key().substr(0, dot) == "student" ? "embed_s.linear" : "embed_t.linear") +
                parameter.key().substr(dot);
            parameter.value().set_data(reference.parameter(name).clone());
            leaves[name] = {parameter.value()};
        }
        const auto value =
            functional::neighbor_differences(embeddings->student(student), embeddings->teacher(teacher));
        CHECK(golden::agrees(reference, value, leaves));
    }
}

TEST_CASE("laws: correlation_congruence") {
    laws::Loss loss = laws::of_function("correlation_congruence", &functional::correlation_congruence,
                                        CorrelationCongruenceOptions{}, {Reduction::mean, Reduction::sum},
                                        laws::random_features({2, 3, 1}, {7}));
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.equal_sizes = false;
    loss.any_class_order = false;
    laws::hold(loss);
    loss =
        laws::of_function("correlation_congruence, unit rows", &functional::correlation_congruence,
                          CorrelationCongruenceOptions{.order = 4, .normalize_input = true, .squared = true},
                          {Reduction::mean, Reduction::batchmean, Reduction::sum, Reduction::none},
                          laws::random_features({2, 3, 1}, {7}));
    loss.elements = 4;  // the suite compares reductions at a batch of 4
    loss.none_is_mean = true;
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.equal_sizes = false;
    loss.any_class_order = false;
    laws::hold(loss);
}

TEST_CASE("laws: neighbor_differences") {
    laws::Loss loss;
    loss.name = "neighbor_differences";
    loss.value = [](const laws::Arguments& arguments, Reduction) {
        return functional::neighbor_differences(arguments.student.at(0),
                                                retort::detail::constant(arguments.teacher.at(0)));
    };
    loss.sample = laws::random_features({6}, {6});
    loss.reductions = {Reduction::mean};
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.any_sample_order = false;
    laws::hold(loss);
}

TEST_CASE("a NeighborDifferences term builds its embeddings from the first batch and trains both") {
    struct Outputs {
        torch::Tensor body;
    };
    torch::manual_seed(3);
    const auto tap = [](const Outputs& outputs) { return outputs.body; };
    retort::NeighborDifferences term{tap, tap, {.size = 5}};
    const Outputs student{torch::randn({4, 3, 2, 2})};
    const Outputs teacher{torch::randn({4, 7})};
    CHECK_FALSE(term.prepared());
    CHECK_THROWS_AS(term(student, teacher, 0), retort::ConfigError);
    term.prepare(student, &teacher, 0);
    REQUIRE(term.prepared());
    const auto parameters = term.module()->parameters();
    REQUIRE(parameters.size() == 4);
    term(student, teacher, 0).backward();
    for (const auto& parameter : parameters) CHECK(parameter.grad().abs().max().item<double>() > 0);
    CHECK_THROWS_AS(term(Outputs{torch::randn({4, 3})}, teacher, 0), retort::ShapeError);
}

}  // namespace correlation_congruence_test
