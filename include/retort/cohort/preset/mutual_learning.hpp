// SPDX-License-Identifier: BSL-1.0
/// \file
/// Graphs in which all learners are trained: independently, or by one another.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <tuple>
#include <utility>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/runtime_graph.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

namespace retort {

/// Every learner alone: `label<0>(), ..., label<N - 1>()`.
template <std::size_t N>
auto independent(const CrossEntropy& labels = {}) {
    static_assert(N > 0, "retort: a cohort needs at least one learner");
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return TransferGraph(label<I>(labels)...);
    }(std::make_index_sequence<N>{});
}

/// Options of `mutual_learning`.
struct MutualLearningOptions {
    CrossEntropy labels{};
    /// The term of every learner from each of the others. The exact divergence at temperature 1 by default;
    /// `SoftTarget::deep_mutual_learning()` and `SoftTarget::transfer_graph()` are those of released code.
    SoftTarget transfer{.temperature = 1.0};
    /// Take the mean over the peers instead of their sum. The authors' code uses the sum, some later code the mean;
    /// for two learners they are the same.
    bool average = false;

    /// The weight of an edge among `learners`.
    double weight(std::size_t learners) const {
        return average && learners > 2 ? 1.0 / static_cast<double>(learners - 1) : 1.0;
    }
};

/// Deep mutual learning: every learner learns from the labels and from all others. It is the transfer graph with all
/// gates `Through`.
///
/// Formula: \f$ L_i = \mathrm{CE}(z_i, y) + w \sum_{j \ne i} \mathrm{KL}(p_j \| p_i) \f$, w = 1, or 1 / (N - 1)
/// (`average`).
/// Source: Zhang, Xiang, Hospedales, Lu, "Deep Mutual Learning", CVPR 2018. There the learners are updated in turn; a
/// cohort updates them simultaneously.
/// \tparam N number of learners, at least 2
template <std::size_t N>
auto mutual_learning(const MutualLearningOptions& options = {}) {
    static_assert(N > 1, "retort: mutual learning needs at least two learners");
    const auto from = [&]<std::size_t To, std::size_t From>(LearnerIndex<To>, LearnerIndex<From>) {
        if constexpr (To == From) {
            return std::tuple();
        } else {
            return std::tuple(edge<From, To>(options.transfer, gate::Through{}, options.weight(N)));
        }
    };
    const auto to = [&]<std::size_t To, std::size_t... From>(LearnerIndex<To> receiver,
                                                             std::index_sequence<From...>) {
        return std::tuple_cat(std::tuple(label<To>(options.labels)), from(receiver, LearnerIndex<From>{})...);
    };
    return [&]<std::size_t... To>(std::index_sequence<To...> all) {
        return detail::graph_of(std::tuple_cat(to(LearnerIndex<To>{}, all)...));
    }(std::make_index_sequence<N>{});
}

/// With a number of learners chosen at run time.
template <class Outputs = at::Tensor, class B = data::Batch>
RuntimeGraph<Outputs, B> mutual_learning(std::size_t learners, const MutualLearningOptions& options = {}) {
    if (learners < 2) {
        throw ConfigError(
            detail::concat("mutual_learning: expected at least two learners, found ", learners));
    }
    RuntimeGraph<Outputs, B> result;
    for (std::size_t to = 0; to < learners; ++to) {
        result.label(to, options.labels);
        for (std::size_t from = 0; from < learners; ++from) {
            if (from != to)
                result.edge(from, to, options.transfer, gate::Through{}, options.weight(learners));
        }
    }
    return result;
}

}  // namespace retort
