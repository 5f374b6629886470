// SPDX-License-Identifier: BSL-1.0
/// \file
/// Learners: a tuple of any types if known at compile time, otherwise a vector of one type; and a slot for the outputs
/// of each.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/learner.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/metrics/evaluate.hpp>
#include <retort/teacher/no_teacher.hpp>

namespace retort::detail {

template <class T>
struct IsLearnerPack : std::false_type {};
template <class... N>
struct IsLearnerPack<std::tuple<Learner<N>...>> : std::true_type {};
template <class N>
struct IsLearnerPack<std::vector<Learner<N>>> : std::true_type {};
/// Learners: a tuple of any types, or a vector of one type.
template <class T>
concept LearnerPack = IsLearnerPack<T>::value;

template <class... T, class F>
void each_of(const std::tuple<T...>& row, F&& function) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (function(std::integral_constant<std::size_t, I>{}, std::get<I>(row)), ...);
    }(std::index_sequence_for<T...>{});
}
template <class T, class F>
void each_of(const std::vector<T>& row, F&& function) {
    for (std::size_t i = 0; i < row.size(); ++i) function(i, row[i]);
}
template <class T, std::size_t N, class F>
void each_of(const std::array<T, N>& row, F&& function) {
    for (std::size_t i = 0; i < N; ++i) function(i, row[i]);
}

/// The number of learners if known at compile time; otherwise 0.
template <class T>
constexpr std::size_t fixed_count = 0;
template <class... T>
constexpr std::size_t fixed_count<std::tuple<T...>> = sizeof...(T);

template <class... T>
constexpr std::size_t count_of(const std::tuple<T...>&) {
    return sizeof...(T);
}
template <class T>
std::size_t count_of(const std::vector<T>& row) {
    return row.size();
}

/// The outputs of all learners, each present if its forward has run. If all are of one type, positions may be known
/// only at run time.
template <class Learners, class I>
struct SlotsOf;
template <class N, class I>
struct SlotsOf<std::vector<Learner<N>>, I> {
    using type = std::vector<std::optional<OutputsOf<N, I>>>;
    static type make(std::size_t count) { return type(count); }
};
template <class First, class... Rest, class I>
struct SlotsOf<std::tuple<Learner<First>, Learner<Rest>...>, I> {
    static constexpr bool uniform = (std::is_same_v<OutputsOf<First, I>, OutputsOf<Rest, I>> && ...);
    using type = std::conditional_t<
        uniform, std::array<std::optional<OutputsOf<First, I>>, 1 + sizeof...(Rest)>,
        std::tuple<std::optional<OutputsOf<First, I>>, std::optional<OutputsOf<Rest, I>>...>>;
    static type make(std::size_t) { return type{}; }
};

/// The slot of a learner.
template <class Slots, class P>
auto& slot(Slots& slots, P position) {
    if constexpr (requires { slots[std::size_t{position}]; }) {
        return slots[position];
    } else {
        static_assert(IsLearnerIndex<P>::value,
                      "retort: an edge whose positions are known at run time needs learners whose forward "
                      "returns one type: use retort::edge<from, to>(...) and retort::label<to>(...)");
        if constexpr (IsLearnerIndex<P>::value) return std::get<P::value>(slots);
    }
}

template <class... T>
const auto& first_of(const std::tuple<T...>& row) {
    return std::get<0>(row);
}
template <class T>
const T& first_of(const std::vector<T>& row) {
    return row.front();
}

/// Evaluates a learner: see `retort::evaluate`.
/// \throws ConfigError if there is no such learner
template <class Learners, class Source, class... Metrics>
auto evaluate_learner(const Learners& learners, std::size_t learner, Source& source,
                      const Metrics&... metrics) {
    static_assert(
        (!Metrics::needs_teacher && ...),
        "retort: a metric needs a teacher: use retort::evaluate(network, teacher, batches, metrics...)");
    NoTeacher none;
    std::optional<decltype(measured(first_of(learners).network(), none, source, metrics...))> result;
    each_of(learners, [&](std::size_t i, const auto& each) {
        if (i == learner) result.emplace(measured(each.network(), none, source, metrics...));
    });
    if (!result) {
        throw ConfigError(
            concat("Cohort: expected a learner below ", count_of(learners), ", found ", learner));
    }
    return *std::move(result);
}

}  // namespace retort::detail
