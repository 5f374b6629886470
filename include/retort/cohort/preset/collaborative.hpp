// SPDX-License-Identifier: BSL-1.0
/// \file
/// Collaborative teacher-student learning via multiple knowledge transfer (CTSL-MKT).
#pragma once

#include <string>
#include <utility>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/error.hpp>
#include <retort/core/reduction.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/relation/relational.hpp>

namespace retort {

/// Options of `collaborative`. The source states no values: unless noted otherwise, the defaults are this library's.
/// A weight of 0 omits its part (the ablations).
struct CollaborativeOptions {
    double ce_weight = 1.0;        ///< \f$ \alpha \f$, of the labels
    double mutual_weight = 1.0;    ///< \f$ \beta \f$, of everything from the peer
    double self_weight = 1.0;      ///< \f$ \gamma \f$, of the frozen self
    double relation_weight = 1.0;  ///< of the relations within the mutual part; 1 in the source
    double angle_ratio = 2.0;      ///< \f$ \beta_1 \f$, angles to distances; 2 as RepDistiller's 50 to 25
    double response_weight = 1.0;  ///< \f$ \beta_2 \f$, of the responses within the mutual part
    /// t of the self-distillation. As in Teacher-free Knowledge Distillation: 20 for MobileNetV2 and ShuffleNetV2, 6
    /// for ResNet18 and ResNet50.
    double self_temperature = 6.0;
    bool t_squared = false;  ///< a factor \f$ t^2 \f$ on the self-distillation; the summaries show none
    /// Over pairs and triples of the relations: the source has a sum; RepDistiller the mean.
    Reduction reduction = Reduction::mean;
    CrossEntropy labels{};

    /// \throws ConfigError if an option is out of range
    void check() const {
        for (const auto& [what, weight] :
             {std::pair("a ce_weight", ce_weight), std::pair("a mutual_weight", mutual_weight),
              std::pair("a self_weight", self_weight), std::pair("a relation_weight", relation_weight),
              std::pair("an angle_ratio", angle_ratio), std::pair("a response_weight", response_weight)}) {
            detail::check_range("CollaborativeOptions", what, weight, detail::at_least(0));
        }
        detail::check_temperature("CollaborativeOptions", self_temperature);
    }
};

/// The second stage of CTSL-MKT for four learners: the peers 0 and 1, and their frozen selves 2 and 3, which are
/// copies trained alone in the first stage (`independent<2>()`) and need no optimizer.
///
///     retort::Cohort cohort{retort::Learner{a, sgd}, retort::Learner{b, sgd},
///                           retort::Learner{a_alone}, retort::Learner{b_alone}};
///     auto graph = retort::collaborative(retort::tap<&AOutputs::pooled>, retort::tap<&BOutputs::pooled>);
///
/// Formula, for a peer k with the other peer k' and its frozen self \f$ \bar k \f$:
/// \f$ L_k = \alpha \mathrm{CE} + \beta \left( L_{DD} + \beta_1 L_{AD} + \beta_2 \mathrm{KL}(p_{k'} \| p_k)
/// \right) + \gamma \mathrm{KL}_t(p_{\bar k} \| p_k) \f$, with the distances and angles of `Relational`.
/// The responses have temperature 1. The peer is a constant, as in deep mutual learning.
/// The taps read the features that the relations compare; the source does not say which layer: the penultimate
/// feature, as in relational knowledge distillation, is recommended. Nor does it state whether the peers start the
/// second stage from scratch or from the first stage's weights; the examples default to new ones.
/// Source: Sun, Gou, Yu, Du, Tao, "Collaborative Teacher-Student Learning via Multiple Knowledge Transfer",
/// 2021, from summaries; no code is public.
/// \throws ConfigError if an option is out of range if an option is out of range
template <class FirstTap, class SecondTap>
auto collaborative(const FirstTap& first, const SecondTap& second, const CollaborativeOptions& options = {}) {
    options.check();
    const RelationalOptions relations{
        .distance_weight = 1.0, .angle_weight = options.angle_ratio, .reduction = options.reduction};
    const SoftTarget response{.temperature = 1.0};
    const SoftTarget self{.temperature = options.self_temperature, .t_squared = options.t_squared};
    const gate::Through through;
    const double relation_weight = options.mutual_weight * options.relation_weight;
    const double response_weight = options.mutual_weight * options.response_weight;
    return TransferGraph(
        label<0>(options.labels, through, options.ce_weight),
        edge<1, 0>(Relational(first, second, relations), through, relation_weight),
        edge<1, 0>(response, through, response_weight), edge<2, 0>(self, through, options.self_weight),
        label<1>(options.labels, through, options.ce_weight),
        edge<0, 1>(Relational(second, first, relations), through, relation_weight),
        edge<0, 1>(response, through, response_weight), edge<3, 1>(self, through, options.self_weight));
}

}  // namespace retort
