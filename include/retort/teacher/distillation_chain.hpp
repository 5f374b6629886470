// SPDX-License-Identifier: BSL-1.0
/// \file
/// A chain of distillations: each network teaches the next.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <retort/core/network.hpp>
#include <retort/teacher/frozen.hpp>

namespace retort {

namespace detail {

template <class T, class Train, class First, class... Rest>
void hand_down_from(std::size_t generation, const T& teacher, Train& train, First& first, Rest&... rest) {
    train(first, teacher, generation);
    if constexpr (sizeof...(Rest) > 0) hand_down_from(generation + 1, Frozen<First>{first}, train, rest...);
}

}  // namespace detail

/// Trains networks in sequence: the first by the teacher, each later one by the one before it.
///
///     retort::distillation_chain(retort::Frozen{large},
///                       [&](auto& learner, const auto& teacher, std::size_t generation) {
///                           retort::Trainer trainer{learner, teacher, knowledge(), schedule, sgd};
///                           trainer.fit(batches, {.epochs = 160});
///                       },
///                       assistant, smaller_assistant, student);
///
/// Teacher assistants of any number and kind (Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh,
/// "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020), or generations of equal networks.
/// \param train `train(network, teacher, generation)`; the teacher is a policy, generations count from 0
template <class T, class Train, Network... N>
    requires(sizeof...(N) > 0 && !Network<T>)
void distillation_chain(const T& teacher, Train&& train, N&... networks) {
    detail::hand_down_from(0, teacher, train, networks...);
}

/// The same for networks of one type whose number is chosen at run time: generations of equal networks (Furlanello,
/// Lipton, Tschannen, Itti, Anandkumar, "Born-Again Neural Networks", ICML 2018).
template <class T, class Train, Network N>
    requires(!Network<T> && !detail::ModuleObject<N>)
void distillation_chain(const T& teacher, Train&& train, std::vector<N>& networks) {
    for (std::size_t generation = 0; generation < networks.size(); ++generation) {
        if (generation == 0) {
            train(networks[0], teacher, generation);
        } else {
            train(networks[generation], Frozen<N>{networks[generation - 1]}, generation);
        }
    }
}

}  // namespace retort
