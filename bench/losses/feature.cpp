// SPDX-License-Identifier: BSL-1.0
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
#include <retort/knowledge/feature/masked_generative.hpp>
#include <retort/knowledge/feature/neuron_selectivity.hpp>
#include <retort/knowledge/feature/pearson_correlation.hpp>
#include <retort/knowledge/feature/review_kd.hpp>
#include <retort/knowledge/feature/srrl.hpp>
#include <retort/knowledge/feature/variational_information.hpp>
#include <retort/knowledge/flow/singular_vectors.hpp>
#include <retort/knowledge/flow/solution_procedure.hpp>

#include "compositions.hpp"
#include "measure.hpp"

namespace bench {

namespace {
namespace own = retort::functional;
}

Entries feature_entries() {
    Entries result;
    using T = const torch::Tensor&;
    const auto add = [&result](std::string name, std::string shapes, std::vector<std::int64_t> sizes,
                               auto mine, auto hand_written) {
        result.push_back(entry(std::move(name), std::move(shapes), sizes, sizes, mine, hand_written));
    };
    // The last stage of resnet8x4 and resnet32x4, and an earlier one of a wider network.
    for (const bool large : {false, true}) {
        const std::string shapes = large ? "64x256x16x16" : "64x256x8x8";
        const std::vector<std::int64_t> sizes{64, 256, large ? 16 : 8, large ? 16 : 8};
        add(
            "hint", shapes, sizes, [](T s, T t) { return own::hint(s, t); },
            [](T s, T t) { return hand_written::F::mse_loss(s, t); });
        add(
            "attention_transfer", shapes, sizes, [](T s, T t) { return own::attention_transfer(s, t); },
            [](T s, T t) { return hand_written::attention_code(s, t); });
        add(
            "attention_transfer, paper", shapes, sizes, [](T s, T t) { return own::attention_paper(s, t); },
            [](T s, T t) { return hand_written::attention_paper(s, t); });
        add(
            "neuron_selectivity", shapes, sizes, [](T s, T t) { return own::neuron_selectivity(s, t); },
            [](T s, T t) { return hand_written::neuron_selectivity(s, t); });
        result.push_back({"variational_information", shapes, [sizes] {
                              const torch::Tensor s = leaf(sizes);
                              const torch::Tensor t = normal(sizes);
                              const torch::Tensor a = leaf({sizes[1]});
                              return Case{{s, a},
                                          [=] { return own::variational_information(s, t, a); },
                                          [=] { return hand_written::variational_information(s, t, a); }};
                          }});
        add(
            "activation_boundary", shapes, sizes, [](T s, T t) { return own::activation_boundary(s, t); },
            [](T s, T t) { return hand_written::activation_boundary(s, t, 1.0); });
        result.push_back({"feature_overhaul", shapes, [sizes] {
                              const torch::Tensor s = leaf(sizes);
                              const torch::Tensor t = normal(sizes);
                              const torch::Tensor m = -torch::rand({sizes[1]});
                              return Case{{s},
                                          [=] { return own::feature_overhaul(s, t, m); },
                                          [=] { return hand_written::feature_overhaul(s, t, m); }};
                          }});
        add(
            "factor_transfer", shapes, sizes, [](T s, T t) { return own::factor_transfer(s, t); },
            [](T s, T t) { return hand_written::factor_transfer(s, t); });
        add(
            "hierarchical_context", shapes, sizes, [](T s, T t) { return own::hierarchical_context(s, t); },
            [](T s, T t) { return hand_written::hierarchical_context(s, t); });
        result.push_back({"srrl", shapes, [sizes] {
                              const torch::Tensor s = leaf(sizes);
                              const torch::Tensor t = normal(sizes);
                              const torch::Tensor s_logits = leaf({64, 100});
                              const torch::Tensor t_logits = normal({64, 100});
                              return Case{{s, s_logits},
                                          [=] { return own::srrl(s, t, s_logits, t_logits); },
                                          [=] { return hand_written::srrl(s, t, s_logits, t_logits); }};
                          }});
        add(
            "channel_correlation", shapes, sizes, [](T s, T t) { return own::channel_correlation(s, t); },
            [](T s, T t) { return hand_written::channel_correlation(s, t); });
        add(
            "channel_wise", shapes, sizes,
            [](T s, T t) { return own::channel_wise(s, t, {.temperature = 4.0}); },
            [](T s, T t) { return hand_written::channel_wise(s, t, 4.0); });
        add(
            "pearson_correlation", shapes, sizes, [](T s, T t) { return own::pearson_correlation(s, t); },
            [](T s, T t) { return hand_written::pearson_correlation(s, t); });
        result.push_back(entry(
            "masked_generative, without generator", shapes, sizes, sizes,
            [](T s, T t) {
                return own::hint(own::masked(s), t, {.reduction = retort::Reduction::batchmean});
            },
            [](T s, T t) { return hand_written::masked_hint(s, t); }, /*tolerance=*/-1));
        add(
            "class_attention_transfer", large ? "64x100x16x16" : "64x100x8x8", {64, 100, sizes[2], sizes[3]},
            [](T s, T t) { return own::class_attention_transfer(s, t); },
            [](T s, T t) { return hand_written::class_attention_transfer(s, t); });
    }
    add(
        "neuron_selectivity (vs. released code)", "64x64x8x8", {64, 64, 8, 8},
        [](T s, T t) { return own::neuron_selectivity(s, t); },
        [](T s, T t) { return hand_written::neuron_selectivity_released(s, t); });
    for (const std::int64_t batch : {64, 1024}) {
        const std::string shapes = std::to_string(batch) + "x256";
        add(
            "log_sum", shapes, {batch, 256}, [](T s, T t) { return own::log_sum(s, t); },
            [](T s, T t) { return hand_written::log_sum(s, t); });
        add(
            "embedding_distance", shapes, {batch, 256},
            [](T s, T t) { return own::embedding_distance(s, t); },
            [](T s, T t) { return hand_written::embedding_distance(s, t); });
    }
    // Three stages each.
    const auto stages = [](bool leaves) {
        std::vector<torch::Tensor> maps;
        for (const auto& [channels, size] :
             {std::pair<std::int64_t, std::int64_t>{64, 32}, {128, 16}, {256, 8}}) {
            maps.push_back(leaves ? leaf({64, channels, size, size}) : normal({64, channels, size, size}));
        }
        return maps;
    };
    result.push_back({"solution_procedure", "64x64x32x32 to 64x256x8x8", [stages] {
                          const auto s = stages(true);
                          const auto t = stages(false);
                          return Case{s, [=] { return own::solution_procedure(s, t); },
                                      [=] { return hand_written::solution_procedure(s, t); }};
                      }});
    result.push_back({"singular_vectors", "16x16x16x16, 16x32x8x8", [] {
                          const std::vector<torch::Tensor> s{leaf({16, 16, 16, 16}), leaf({16, 32, 8, 8})};
                          const std::vector<torch::Tensor> t{normal({16, 16, 16, 16}),
                                                             normal({16, 32, 8, 8})};
                          return Case{s, [=] { return own::singular_vectors(s, t); },
                                      [=] { return hand_written::singular_vectors(s, t); }, 2e-2};
                      }});
    return result;
}

}  // namespace bench
