// SPDX-License-Identifier: BSL-1.0
/// \file
/// Terms with their weights: 0.9 * SoftTarget{}.
#pragma once

#include <type_traits>
#include <utility>

#include <retort/detail/check.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/schedule/constant.hpp>

namespace retort {

/// A term with its weight, a number or a schedule, in a `Knowledge` or a `Sum`. Usually written as a product:
///
///     retort::Knowledge{0.1 * retort::CrossEntropy{}, 0.9 * retort::SoftTarget{}}
///
/// The operator is found by argument-dependent lookup in the namespace of the term or the schedule. For a number times
/// a term of another namespace, write `retort::Weighted{0.5, MyTerm{}}`, or `using retort::operator*;` first.
template <WeightSchedule S, SaysWhatItNeeds Term>
struct Weighted {
    S weight;
    Term term;

    template <class W>
    Weighted(const W& by, Term of) : weight(detail::to_schedule(by)), term(std::move(of)) {}
};

template <class W, class Term>
Weighted(const W&, Term) -> Weighted<detail::as_schedule<W>, Term>;

/// The term with this weight.
template <class W, SaysWhatItNeeds Term>
    requires std::is_arithmetic_v<W> || WeightSchedule<W>
auto operator*(const W& weight, Term term) {
    return Weighted(weight, std::move(term));
}

namespace detail {

template <class T>
struct Unweighted {
    using Term = T;
    using Schedule = Constant;
    static constexpr bool weighted = false;
};
template <class S, class T>
struct Unweighted<Weighted<S, T>> {
    using Term = T;
    using Schedule = S;
    static constexpr bool weighted = true;
};
/// Whether this is a term with a weight.
template <class T>
constexpr bool is_weighted = Unweighted<T>::weighted;
/// The term of a weighted term; any other type unchanged.
template <class T>
using term_of = typename Unweighted<T>::Term;
/// The schedule of a weighted term; `Constant` for a term without weight.
template <class T>
using schedule_of = typename Unweighted<T>::Schedule;

template <class T>
const term_of<T>& unweighted(const T& term) {
    if constexpr (is_weighted<T>) {
        return term.term;
    } else {
        return term;
    }
}
template <class T>
schedule_of<T> weight_of(const T& term) {
    if constexpr (is_weighted<T>) {
        return term.weight;
    } else {
        return {};
    }
}

}  // namespace detail
}  // namespace retort
