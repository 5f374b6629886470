// SPDX-License-Identifier: BSL-1.0
#include <retort/knowledge/flow/information_flow.hpp>
#include <retort/knowledge/relation/contrast_bank.hpp>
#include <retort/knowledge/relation/contrast_queue.hpp>
#include <retort/knowledge/relation/correlation_congruence.hpp>
#include <retort/knowledge/relation/probabilistic_transfer.hpp>
#include <retort/knowledge/relation/relational.hpp>
#include <retort/knowledge/relation/self_supervision.hpp>
#include <retort/knowledge/relation/similarity_preserving.hpp>

#include "compositions.hpp"
#include "measure.hpp"

namespace bench {

namespace {
namespace own = retort::functional;

torch::Tensor unit(std::vector<std::int64_t> sizes) {
    return hand_written::F::normalize(torch::randn(sizes), hand_written::F::NormalizeFuncOptions().dim(1));
}
}  // namespace

Entries relation_entries() {
    Entries result;
    using T = const torch::Tensor&;
    const auto add = [&result](std::string name, std::string shapes, std::vector<std::int64_t> sizes,
                               auto mine, auto hand_written) {
        result.push_back(entry(std::move(name), std::move(shapes), sizes, sizes, mine, hand_written));
    };
    const auto sp = [](T s, T t) { return own::similarity_preserving(s, t); };
    const auto sp_hand_written = [](T s, T t) { return hand_written::similarity_preserving(s, t); };
    add("similarity_preserving", "64x256x8x8", {64, 256, 8, 8}, sp, sp_hand_written);
    add("similarity_preserving", "1024x512", {1024, 512}, sp, sp_hand_written);
    // The protocol's batch, and a large one.
    for (const std::int64_t batch : {64, 512}) {
        const std::int64_t width = batch == 64 ? 256 : 512;
        const std::vector<std::int64_t> sizes{batch, width};
        const std::string shapes = std::to_string(batch) + "x" + std::to_string(width);
        add(
            "relational_distance", shapes, sizes, [](T s, T t) { return own::relational_distance(s, t); },
            [](T s, T t) { return hand_written::relational_distance(s, t); });
        add(
            "relational_angle", shapes, sizes, [](T s, T t) { return own::relational_angle(s, t); },
            [](T s, T t) { return hand_written::relational_angle(s, t); });
        add(
            "relational", shapes, sizes, [](T s, T t) { return own::relational(s, t); },
            [](T s, T t) { return hand_written::relational(s, t); });
        // Rows close to each other: distant ones have probability 0.
        result.push_back({"hard_dark_rank", shapes, [sizes] {
                              const torch::Tensor s = unit(sizes).requires_grad_();
                              const torch::Tensor t = unit(sizes);
                              return Case{{s},
                                          [=] { return own::hard_dark_rank(s, t); },
                                          [=] { return hand_written::hard_dark_rank(s, t); }};
                          }});
        add(
            "probabilistic_transfer", shapes, sizes,
            [](T s, T t) { return own::probabilistic_transfer(s, t); },
            [](T s, T t) { return hand_written::probabilistic_transfer(s, t); });
        add(
            "information_flow", shapes, sizes, [](T s, T t) { return own::information_flow(s, t); },
            [](T s, T t) { return hand_written::information_flow(s, t); });
        add(
            "correlation_congruence", shapes, sizes,
            [](T s, T t) { return own::correlation_congruence(s, t); },
            [](T s, T t) { return hand_written::correlation_congruence(s, t); });
        add(
            "neighbor_differences", shapes, sizes, [](T s, T t) { return own::neighbor_differences(s, t); },
            [](T s, T t) { return hand_written::neighbor_differences(s, t); });
        add(
            "batch_contrast", shapes, sizes, [](T s, T t) { return own::batch_contrast(s * 0.1, t * 0.1); },
            [](T s, T t) { return hand_written::batch_contrast(s * 0.1, t * 0.1); });
    }
    result.push_back(
        {"noise_contrast, 16384 of 50000 rows", "64x128", [] {
             const torch::Tensor v = unit({64, 128}).requires_grad_();
             const torch::Tensor bank = unit({50000, 128});
             const torch::Tensor indices = torch::randint(50000, {64, 16385}, torch::kLong);
             const double normalizer = 50000 * 3.0;
             const torch::Tensor log_normalizer = torch::full({}, std::log(normalizer));
             const torch::Tensor log_noise = torch::full({1, 1}, std::log(16384.0 / 50000.0));
             return Case{
                 {v},
                 [=] { return own::noise_contrast(v, bank, indices, log_normalizer, log_noise).mean(); },
                 [=] { return hand_written::noise_contrast(v, bank, indices, normalizer); }};
         }});
    result.push_back({"queue_contrast, 16384 rows", "64x128", [] {
                          const torch::Tensor v = unit({64, 128}).requires_grad_();
                          const torch::Tensor u = unit({64, 128});
                          const torch::Tensor queue = unit({16384, 128});
                          return Case{{v},
                                      [=] { return own::queue_contrast(v, u, queue); },
                                      [=] { return hand_written::queue_contrast(v, u, queue); }};
                      }});
    for (const std::int64_t samples : {64, 256}) {
        add(
            "self_supervision, 4 views", std::to_string(samples) + "x128", {4 * samples, 128},
            [](T s, T t) { return own::self_supervision(s, t); },
            [](T s, T t) { return hand_written::self_supervision(s, t, 4); });
        result.push_back({"transformed_target, 3 views", std::to_string(samples) + "x100", [samples] {
                              const torch::Tensor s = leaf({3 * samples, 100});
                              const torch::Tensor t = normal({3 * samples, 100});
                              const torch::Tensor y = torch::randint(100, {samples}, torch::kLong);
                              return Case{{s},
                                          [=] { return own::transformed_target(s, t, y); },
                                          [=] { return hand_written::transformed_target(s, t, y); }};
                          }});
    }
    return result;
}

}  // namespace bench
