// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/feature/activation_boundary.hpp>
#include <retort/knowledge/feature/attention_transfer.hpp>
#include <retort/knowledge/feature/channel_correlation.hpp>
#include <retort/knowledge/feature/channel_wise.hpp>
#include <retort/knowledge/feature/class_attention_transfer.hpp>
#include <retort/knowledge/feature/compressed_embedding.hpp>
#include <retort/knowledge/feature/factor_transfer.hpp>
#include <retort/knowledge/feature/feature_overhaul.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/feature/log_sum.hpp>
#include <retort/knowledge/feature/neuron_selectivity.hpp>
#include <retort/knowledge/feature/pearson_correlation.hpp>
#include <retort/knowledge/feature/review_kd.hpp>
#include <retort/knowledge/feature/srrl.hpp>
#include <retort/knowledge/feature/variational_information.hpp>

#include <loss_laws.hpp>

namespace feature_laws_test {

using namespace retort_test;
using retort::Reduction;
namespace functional = retort::functional;

namespace {

const std::vector<Reduction> all{Reduction::mean, Reduction::batchmean, Reduction::sum, Reduction::none};

/// A distance of two features: zero at equality, never negative. Its elements are those of a sample, as many
/// as said, or the samples themselves.
template <class Function, class Options>
laws::Loss distance(std::string name, Function function, Options options, double elements = 1,
                    std::vector<std::int64_t> sizes = {3, 4, 4}) {
    laws::Loss loss =
        laws::of_function(std::move(name), function, options, all, laws::random_features(sizes, sizes));
    loss.elements = elements;
    loss.none_is_mean = elements > 1;
    loss.never_negative = true;
    loss.zero_at_equality = true;
    return loss;
}

}  // namespace

TEST_CASE("laws: hint") { laws::hold(distance("hint", &functional::hint, retort::HintOptions{}, 48)); }

TEST_CASE("laws: attention_code") {
    for (const double power : {2.0, 1.0, 4.0}) {
        laws::Loss loss = distance("attention_code", &functional::attention_code,
                                   retort::AttentionTransferOptions{.power = power}, 16);
        loss.equal_sizes = false;
        if (power == 4)
            loss.extreme = 1e3;  // the fourth powers of larger inputs, and their squares, overflow float32
        laws::hold(loss);
    }
}

TEST_CASE("laws: attention_paper") {
    laws::Loss loss =
        distance("attention_paper", &functional::attention_paper, retort::AttentionTransferOptions::paper());
    loss.equal_sizes = false;
    laws::hold(loss);
}

TEST_CASE("laws: neuron_selectivity") {
    for (const std::int64_t side : {2, 4}) {  // both ways to compute it
        laws::Loss loss = distance("neuron_selectivity", &functional::neuron_selectivity,
                                   retort::NeuronSelectivityOptions{}, 1, {5, side, side});
        loss.equal_sizes = false;
        laws::hold(loss);
    }
}

TEST_CASE("laws: variational_information") {
    laws::Loss loss;
    loss.name = "variational_information";
    loss.value = [](const laws::Arguments& arguments, Reduction reduction) {
        return functional::variational_information(arguments.student.at(0), arguments.teacher.at(0),
                                                   arguments.learnable.at(0), {.reduction = reduction});
    };
    loss.sample = [random = laws::random_features({3, 2, 2}, {3, 2, 2})](std::int64_t batch) {
        laws::Arguments result = random(batch);
        result.learnable = {torch::randn({3}, torch::kFloat64)};
        return result;
    };
    loss.reductions = all;
    loss.elements = 12;
    loss.none_is_mean = true;
    loss.any_class_order = false;  // each channel has its own variance
    laws::extremes_are_finite(loss);
    // The gradient of a variance is a squared distance, which overflows float16 before the feature does.
    loss.extreme = 100;
    laws::hold(loss);
}

TEST_CASE("laws: activation_boundary") {
    laws::Loss loss = distance("activation_boundary", &functional::activation_boundary,
                               retort::ActivationBoundaryOptions::rep_distiller(), 48);
    std::swap(loss.reductions[0], loss.reductions[1]);
    loss.none_is_mean = false;
    loss.zero_at_equality = false;  // the margin matters there
    laws::hold(loss);
}

TEST_CASE("laws: feature_overhaul") {
    const auto with_margins = [](const torch::Tensor& student, const torch::Tensor& teacher,
                                 const retort::FeatureOverhaulOptions& options) {
        return functional::feature_overhaul(student, teacher,
                                            torch::tensor({-0.3, -1.0, -2.0}, torch::kFloat64), options);
    };
    const auto without_margins = [](const torch::Tensor& student, const torch::Tensor& teacher,
                                    const retort::FeatureOverhaulOptions& options) {
        return functional::feature_overhaul(student, teacher, options);
    };
    laws::Loss loss = distance("feature_overhaul", without_margins, retort::FeatureOverhaulOptions{}, 48);
    std::swap(loss.reductions[0], loss.reductions[1]);
    loss.none_is_mean = false;
    laws::hold(loss);
    laws::Loss margins =
        distance("feature_overhaul with margins", with_margins, retort::FeatureOverhaulOptions{}, 48);
    margins.reductions = loss.reductions;
    margins.none_is_mean = false;
    margins.zero_at_equality = false;  // not below the margin
    margins.any_class_order = false;   // each channel has its own margin
    laws::hold(margins);
}

TEST_CASE("laws: factor_transfer") {
    laws::hold(distance("factor_transfer", &functional::factor_transfer,
                        retort::FactorTransferOptions::paper(), 48));
    laws::hold(distance("factor_transfer with the norm 2", &functional::factor_transfer,
                        retort::FactorTransferOptions{.norm = 2}));
    auto options = retort::FactorTransferOptions::rep_distiller();
    laws::hold(distance("factor_transfer, rep_distiller", &functional::factor_transfer, options, 16));
    options.norm = 2;
    laws::hold(distance("factor_transfer, rep_distiller, p2 = 2", &functional::factor_transfer, options, 16));
}

TEST_CASE("laws: channel_correlation") {
    laws::hold(distance("channel_correlation", &functional::channel_correlation,
                        retort::ChannelCorrelationOptions{}, 3));
    laws::hold(distance("channel_correlation, torchdistill", &functional::channel_correlation,
                        retort::ChannelCorrelationOptions::torchdistill(), 3));
}

TEST_CASE("laws: pearson_correlation") {
    laws::hold(distance("pearson_correlation", &functional::pearson_correlation,
                        retort::PearsonCorrelationOptions{}, 48));
}

TEST_CASE("laws: channel_wise") {
    for (const double temperature : {1.0, 4.0}) {
        laws::hold(distance("channel_wise", &functional::channel_wise,
                            retort::ChannelWiseOptions{.temperature = temperature}, 3));
    }
}

TEST_CASE("laws: class_attention_transfer") {
    laws::hold(distance("class_attention_transfer", &functional::class_attention_transfer,
                        retort::ClassAttentionTransferOptions{}, 12));
    laws::hold(distance("class_attention_transfer of the likeliest classes",
                        &functional::class_attention_transfer,
                        retort::ClassAttentionTransferOptions{.top_classes = 2}, 8));
    laws::Loss binary =
        distance("class_attention_transfer to a binary map", &functional::class_attention_transfer,
                 retort::ClassAttentionTransferOptions{.binarize = true}, 12);
    binary.zero_at_equality = false;
    laws::hold(binary);
}

TEST_CASE("laws: hierarchical_context") {
    laws::hold(distance("hierarchical_context", &functional::hierarchical_context,
                        retort::HierarchicalContextOptions{}));
}

TEST_CASE("laws: log_sum") {
    laws::Loss loss;
    loss.name = "log_sum";
    loss.value = [](const laws::Arguments& arguments, Reduction) {
        return functional::log_sum(arguments.student.at(0), arguments.teacher.at(0));
    };
    loss.sample = laws::random_features({6}, {6});
    loss.reductions = {Reduction::sum};
    laws::hold(loss);
}

TEST_CASE("laws: srrl") {
    laws::Loss loss;
    loss.name = "srrl";
    loss.value = [](const laws::Arguments& arguments, Reduction reduction) {
        return functional::srrl(arguments.student.at(0), arguments.teacher.at(0), arguments.student.at(1),
                                arguments.teacher.at(1), {.reduction = reduction});
    };
    loss.sample = [](std::int64_t batch) {
        const auto random = [](std::vector<std::int64_t> sizes) {
            return torch::randn(sizes, torch::kFloat64);
        };
        return laws::Arguments{.student = {random({batch, 4, 2, 2}), random({batch, 4})},
                               .teacher = {random({batch, 4, 2, 2}), random({batch, 4})}};
    };
    loss.reductions = all;
    loss.elements = 1;
    loss.never_negative = true;
    loss.zero_at_equality = true;
    laws::hold(loss);
}

TEST_CASE("laws: embedding_distance") {
    for (const auto kind : {retort::CompressedEmbeddingOptions::Distance::cosine,
                            retort::CompressedEmbeddingOptions::Distance::squared}) {
        const auto to_the_student = [](const torch::Tensor& student, const torch::Tensor& teacher,
                                       const retort::CompressedEmbeddingOptions& options) {
            return functional::embedding_distance(student, teacher.defined() ? teacher.detach() : teacher,
                                                  options);
        };
        laws::hold(distance("embedding_distance", to_the_student,
                            retort::CompressedEmbeddingOptions{.distance = kind}, 1, {6}));
    }
}

}  // namespace feature_laws_test
