// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/relation/diversity.hpp>

#include <golden.hpp>
#include <small_networks.hpp>

namespace diversity_test {

using namespace retort_test;
using retort::DiversityOptions;
using retort::functional::cross_entropy;
using retort::functional::diversity;
using retort::functional::mode_seeking;

TEST_CASE("diversity and mode_seeking agree with FedGen's") {
    for (const golden::Case& reference : golden::cases("fedgen_diversity__fedgen")) {
        const auto noise = reference.input("noise"), output = reference.leaf("output");
        const std::string metric = reference.word("metric");
        const DiversityOptions options{.distance = metric == "l1"   ? DiversityOptions::Distance::absolute
                                                   : metric == "l2" ? DiversityOptions::Distance::squared
                                                                    : DiversityOptions::Distance::cosine};
        const auto value = reference.word("class") == "DivLoss" ? mode_seeking(noise, output)
                                                                : diversity(noise, output, options);
        CHECK(golden::agrees(reference, value, {{"output", {output}}}));
    }
}

TEST_CASE("cross-entropies, soft targets and diversity agree with FedGen's users and server") {
    for (const golden::Case& reference : golden::cases("fedgen_terms__fedgen")) {
        if (reference.has_input(
                "x")) {  // a user: its data, sampled latents, and its own head's view of others
            const auto w1 = reference.leaf("model.l1.weight"), b1 = reference.leaf("model.l1.bias");
            const auto w2 = reference.leaf("model.l2.weight"), b2 = reference.leaf("model.l2.bias");
            const auto head = [&](const torch::Tensor& latent) { return torch::linear(latent, w2, b2); };
            const auto logits = head(torch::relu(torch::linear(reference.input("x"), w1, b1)));
            const double decay = std::pow(0.98, reference.option("round"));
            const double alpha = std::max(1e-4, reference.option("generative_alpha") * decay);
            const double beta = std::max(1e-4, reference.option("generative_beta") * decay);
            const double share = reference.option("gen_batch_size") / reference.option("batch_size");
            const auto value =
                cross_entropy(logits, reference.input("target")) +
                share * alpha *
                    cross_entropy(head(reference.input("gen_output_sampled")),
                                  reference.input("sampled_labels")) +
                beta * retort::functional::soft_target(
                           logits, head(reference.input("gen_output_same_labels")), {.temperature = 1.0});
            CHECK(golden::agrees(reference, value,
                                 {{"model.l1.weight", {w1}},
                                  {"model.l1.bias", {b1}},
                                  {"model.l2.weight", {w2}},
                                  {"model.l2.bias", {b2}}},
                                 1e-6));
            continue;
        }
        const auto latent = reference.leaf("gen_output");
        const auto labels = reference.input("labels");
        const auto head = [&](const std::string& who) {
            return torch::linear(latent, reference.parameter(who + ".l2.weight"),
                                 reference.parameter(who + ".l2.bias"));
        };
        const auto weights = reference.component("label_weights").to(torch::kFloat64);  // [class, user]
        torch::Tensor value = torch::zeros({}, torch::kFloat64), together = value;
        for (std::int64_t user = 0; user < weights.size(1); ++user) {
            const auto logits = head(retort::detail::concat("user", user));
            const auto weight = weights.select(1, user).index_select(0, labels);
            // The weights act only through their mean, due to a broadcast in the released code.
            value =
                value + reference.option("ensemble_alpha") * cross_entropy(logits, labels) * weight.mean();
            together = together + logits * weight.unsqueeze(1);
        }
        value = value + reference.option("ensemble_eta") * diversity(reference.input("eps"), latent);
        if (reference.option("ensemble_beta") > 0) {
            // The generator's gradient goes through both sides of this divergence.
            value = value - reference.option("ensemble_beta") *
                                retort::detail::composed_soft_target(
                                    head("student"), together,
                                    {.temperature = 1.0, .reduction = retort::Reduction::mean});
        }
        CHECK(golden::agrees(reference, value, {{"gen_output", {latent}}}, 1e-6));
    }
}

TEST_CASE("diversity is at most 1, attained by equal outputs, and refuses mismatches") {
    torch::manual_seed(1);
    const auto noise = torch::randn({4, 3}), output = torch::randn({4, 2, 2});
    CHECK(diversity(noise, output).item<double>() < 1);
    CHECK(diversity(noise, torch::ones({4, 5})).item<double>() == 1);
    CHECK(diversity(noise.slice(0, 0, 1), output.slice(0, 0, 1)).item<double>() == 1);
    CHECK(mode_seeking(noise, 2 * output).item<double>() < mode_seeking(noise, output).item<double>());
    CHECK(words_of<retort::ShapeError>([&] { diversity(noise, output.slice(0, 0, 3)); }) ==
          "diversity: expected noise and outputs of one batch, found [4, 3] and [3, 2, 2]");
    {
        INFO("equal noise, equal outputs");
        for (const auto& [own, value] : {std::pair{torch::randn({6, 4}), 0.0}, {torch::ones({6, 4}), 0.0}}) {
            const auto outputs = own.clone().requires_grad_();
            const auto loss = mode_seeking(torch::ones({6, 3}), outputs);
            CHECK(loss.item<double>() == value);
            CHECK(torch::autograd::grad({loss}, {outputs})[0].abs().max().item<double>() == 0);
        }
        const auto outputs = torch::ones({6, 4}).requires_grad_();
        const auto loss = mode_seeking(torch::randn({6, 3}), outputs);
        CHECK(loss.item<double>() == Approx(1e5));
        CHECK(torch::autograd::grad({loss}, {outputs})[0].abs().max().item<double>() == 0);
    }
    CHECK_THROWS_AS(mode_seeking(noise.slice(0, 0, 1), output.slice(0, 0, 1)), retort::ShapeError);
    CHECK_THROWS_AS(mode_seeking(noise, output, 0), retort::ConfigError);
    CHECK_THROWS_AS(diversity(torch::Tensor(), output), retort::ShapeError);
}

}  // namespace diversity_test
