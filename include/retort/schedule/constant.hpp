// SPDX-License-Identifier: BSL-1.0
/// \file
/// A constant weight.
#pragma once

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{value} \f$. A plain number in a `Schedule` is one of these.
struct Constant {
    double value = 1.0;

    double weight(const Progress&) const { return value; }
    void check() const { detail::check_finite("Constant", "value", value); }
};

namespace detail {

template <class T>
struct AsSchedule {
    using type = T;
};
template <class T>
    requires std::is_arithmetic_v<T>
struct AsSchedule<T> {
    using type = Constant;
};
/// The schedule of a value: a number is a `Constant`.
template <class T>
using as_schedule = typename AsSchedule<std::remove_cvref_t<T>>::type;

template <class T>
as_schedule<T> to_schedule(const T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
        return Constant{static_cast<double>(value)};
    } else {
        return value;
    }
}

}  // namespace detail
}  // namespace retort
