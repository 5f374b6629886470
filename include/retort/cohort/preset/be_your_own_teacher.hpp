// SPDX-License-Identifier: BSL-1.0
/// \file
/// Be your own teacher: a network's last exit teaches its earlier ones.
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/error.hpp>
#include <retort/knowledge/adaptor/within.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/feature/positive_squares.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/tap/taps.hpp>

namespace retort {

/// Options of `be_your_own_teacher`.
struct OwnTeacherOptions {
    double alpha = 0.1;        ///< of the last exit's predictions; the labels get the rest. In [0, 1]
    double beta = 1e-6;        ///< of the features; at least 0
    double temperature = 3.0;  ///< above 0
    CrossEntropy labels{};

    /// \throws ConfigError
    void check() const {
        detail::check_range("OwnTeacherOptions", "an alpha", alpha, detail::in_closed(0, 1));
        detail::check_range("OwnTeacherOptions", "a beta", beta, detail::at_least(0));
        detail::check_temperature("OwnTeacherOptions", temperature);
    }
};

/// Self-distillation through a network's own exits, as edges of learner 0 (a cohort of one, or one among
/// others).
///
///     auto graph = retort::be_your_own_teacher(
///         retort::Taps{retort::tap<&Outputs::exits, 0>, retort::tap<&Outputs::exits, 1>},
///         retort::tap<&Outputs::logits>,
///         retort::Taps{retort::tap<&Outputs::features, 0>, retort::tap<&Outputs::features, 1>},
///         retort::tap<&Outputs::feature>);
///
/// Formula: \f$ (1 - \alpha) \sum_e \mathrm{CE}(z_e, y) + \alpha T^2 \sum_{e < last} H(p_{last}, p_e) + \beta \sum_{e
/// < last} \| F_e - F_{last} \|^2 \f$, with the cross-entropy H at temperature T instead of the divergence (equal
/// gradients), and squares only where either feature is positive. The last exit is a constant for the others. The
/// network must bring its features to one size.
/// Source: Zhang, Song, Gao, Chen, Bao, Ma, "Be Your Own Teacher", ICCV 2019, as in an unofficial implementation.
/// \tparam Position of the learner whose edges these are
/// \throws ConfigError if an option is out of range
template <std::size_t Position = 0, class... Exits, class Last, class... Features, class LastFeature>
auto be_your_own_teacher(const Taps<Exits...>& exits, const Last& last, const Taps<Features...>& features,
                         const LastFeature& last_feature, const OwnTeacherOptions& options = {}) {
    static_assert(
        sizeof...(Exits) > 0 && sizeof...(Exits) == sizeof...(Features),
        "retort: every exit except the last has a feature: expected as many taps of exits as of features");
    options.check();
    const gate::Through through;
    SoftTarget soft = SoftTarget::be_your_own_teacher();
    soft.temperature = options.temperature;
    const auto hard = [&](const auto& exit) {
        return label<Position>(Within(options.labels, exit), through, 1 - options.alpha);
    };
    return std::apply(
        [&](const auto&... exit) {
            return std::apply(
                [&](const auto&... feature) {
                    return TransferGraph(hard(exit)..., hard(last),
                                         label<Position>(Within(soft, exit, last), through, options.alpha)...,
                                         label<Position>(Within(PositiveSquares{}, feature, last_feature),
                                                         through, options.beta)...);
                },
                features.all());
        },
        exits.all());
}

}  // namespace retort
