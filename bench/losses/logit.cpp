// SPDX-License-Identifier: BSL-1.0
#include <retort/knowledge/adaptor/standardized.hpp>
#include <retort/knowledge/logit/class_relation.hpp>
#include <retort/knowledge/logit/cosine_logits.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/decoupled_kd.hpp>
#include <retort/knowledge/logit/dist_kd.hpp>
#include <retort/knowledge/logit/logit_mse.hpp>
#include <retort/knowledge/logit/multi_level_kd.hpp>
#include <retort/knowledge/logit/normalized_kd.hpp>
#include <retort/knowledge/logit/sample_relation.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/logit/teacher_free_regularization.hpp>
#include <retort/knowledge/logit/universal_self_kd.hpp>
#include <retort/knowledge/logit/weighted_soft_labels.hpp>

#include "compositions.hpp"
#include "measure.hpp"

namespace bench {

namespace {

namespace own = retort::functional;
using retort::SoftTarget;

std::string sizes(std::int64_t batch, std::int64_t classes) {
    return std::to_string(batch) + "x" + std::to_string(classes);
}

/// Two functions of student, teacher and target.
template <class Own, class HandWritten>
Entry with_target(std::string name, std::int64_t batch, std::int64_t classes, Own mine,
                  HandWritten hand_written) {
    return {std::move(name), sizes(batch, classes), [=] {
                const torch::Tensor s = leaf({batch, classes});
                const torch::Tensor t = normal({batch, classes});
                const torch::Tensor y = torch::randint(classes, {batch}, torch::kLong);
                return Case{{s}, [=] { return mine(s, t, y); }, [=] { return hand_written(s, t, y); }};
            }};
}

}  // namespace

Entries logit_entries() {
    Entries result;
    // The protocol's batch on CIFAR-100, and one of ImageNet.
    for (const auto& [batch, classes] : {std::pair<std::int64_t, std::int64_t>{64, 100}, {256, 1000}}) {
        const auto add = [&result, batch = batch, classes = classes](std::string name, auto mine,
                                                                     auto hand_written) {
            result.push_back(entry(std::move(name), sizes(batch, classes), {batch, classes}, {batch, classes},
                                   mine, hand_written));
        };
        const auto add_with_target = [&result, batch = batch, classes = classes](std::string name, auto mine,
                                                                                 auto hand_written) {
            result.push_back(with_target(std::move(name), batch, classes, mine, hand_written));
        };
        using T = const torch::Tensor&;
        add_with_target(
            "cross_entropy", [](T s, T, T y) { return own::cross_entropy(s, y); },
            [](T s, T, T y) { return hand_written::F::cross_entropy(s, y); });
        add(
            "soft_target", [](T s, T t) { return own::soft_target(s, t); },
            [](T s, T t) { return hand_written::soft_target(s, t, 4.0); });
        add(
            "soft_target (vs. kl_div)", [](T s, T t) { return own::soft_target(s, t); },
            [](T s, T t) { return hand_written::soft_target_kl_div(s, t, 4.0); });
        add(
            "soft_target, reverse",
            [](T s, T t) { return own::soft_target(s, t, {.form = SoftTarget::Form::reverse}); },
            [](T s, T t) { return hand_written::reverse_soft_target(s, t, 4.0); });
        add(
            "soft_target, symmetric",
            [](T s, T t) { return own::soft_target(s, t, {.form = SoftTarget::Form::symmetric}); },
            [](T s, T t) { return hand_written::symmetric_soft_target(s, t, 4.0); });
        add(
            "soft_target, Jensen-Shannon",
            [](T s, T t) { return own::soft_target(s, t, {.form = SoftTarget::Form::jensen_shannon}); },
            [](T s, T t) { return hand_written::jensen_shannon_soft_target(s, t, 4.0); });
        add_with_target(
            "decoupled_kd",
            [](T s, T t, T y) { return own::decoupled_kd(s, t, y, {.non_target_weight = 8.0}); },
            [](T s, T t, T y) { return hand_written::decoupled_kd(s, t, y, 1.0, 8.0, 4.0); });
        add_with_target(
            "normalized_kd", [](T s, T t, T y) { return own::normalized_kd(s, t, y); },
            [](T s, T t, T y) { return hand_written::normalized_kd(s, t, y, 1.5, 1.0); });
        add_with_target(
            "weighted_soft_labels", [](T s, T t, T y) { return own::weighted_soft_labels(s, t, y); },
            [](T s, T t, T y) { return hand_written::weighted_soft_labels(s, t, y, 4.0); });
        add(
            "dist_kd", [](T s, T t) { return own::dist_kd(s, t); },
            [](T s, T t) { return hand_written::dist_kd(s, t); });
        add(
            "standardized soft_target",
            [](T s, T t) {
                return own::soft_target(own::standardize(s), own::standardize(t), {.temperature = 2.0});
            },
            [](T s, T t) {
                return hand_written::soft_target(hand_written::standardized(s), hand_written::standardized(t),
                                                 2.0);
            });
        add(
            "multi_level_kd",
            [](T s, T t) {
                const std::int64_t half = s.size(0) / 2;
                return own::multi_level_kd(s.narrow(0, 0, half), s.narrow(0, half, half),
                                           t.narrow(0, 0, half), t.narrow(0, half, half));
            },
            [](T s, T t) { return hand_written::multi_level_kd(s, t); });
        add_with_target(
            "teacher_free_regularization", [](T s, T, T y) { return own::teacher_free_regularization(s, y); },
            [](T s, T, T y) { return hand_written::teacher_free_regularization(s, y); });
        add(
            "class_relation", [](T s, T t) { return own::class_relation(s, t); },
            [](T s, T t) { return hand_written::class_relation(s, t, 4.0); });
        add(
            "sample_relation", [](T s, T t) { return own::sample_relation(s, t); },
            [](T s, T t) { return hand_written::sample_relation(s, t, 4.0); });
        add(
            "logit_mse", [](T s, T t) { return own::logit_mse(s, t); },
            [](T s, T t) { return hand_written::F::mse_loss(s, t); });
        add(
            "cosine_logits", [](T s, T t) { return own::cosine_logits(s, t); },
            [](T s, T t) { return hand_written::cosine_logits(s, t); });
        result.push_back({"universal_self_kd", sizes(batch, classes), [batch = batch, classes = classes] {
                              const torch::Tensor s = leaf({batch, classes});
                              const torch::Tensor w = leaf({batch, classes});
                              const torch::Tensor y = torch::randint(classes, {batch}, torch::kLong);
                              return Case{{s, w},
                                          [=] { return own::universal_self_kd(s, w, y); },
                                          [=] { return hand_written::universal_self_kd(s, w, y); }};
                          }});
    }
    return result;
}

}  // namespace bench
