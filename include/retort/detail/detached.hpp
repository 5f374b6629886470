// SPDX-License-Identifier: BSL-1.0
/// \file
/// Converts all tensors in a network's outputs: to constants, to float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <retort/core/logits.hpp>

namespace retort::detail {

void detached() = delete;  // poison pill: only functions found by argument-dependent lookup count

template <class O>
concept HasOwnDetached = requires(const O& outputs) {
    { detached(outputs) } -> std::convertible_to<O>;
};

struct AnyField {
    template <class T>
    operator T() const;  // never called
};

template <class T, std::size_t... I>
constexpr bool takes_fields(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), AnyField{})...}; };
}
/// The number of members of an aggregate, up to 16.
template <class T, std::size_t N = 16>
constexpr std::size_t field_count() {
    if constexpr (N == 0 || takes_fields<T>(std::make_index_sequence<N>())) {
        return N;
    } else {
        return field_count<T, N - 1>();
    }
}

template <class T>
concept Iterable = requires(T& value) {
    value.begin();
    value.end();
};
template <class T>
concept Elements = requires { std::tuple_size<T>::value; };

/// Detaches tensors. `variable_data` shares the value without an operator.
struct Detach {
    void operator()(at::Tensor& value) const {
        if (value.defined() && value.requires_grad()) value = value.variable_data();
    }
    template <HasOwnDetached T>
    void own(T& value) const {
        value = detached(static_cast<const T&>(value));
    }
};
/// Widens types narrower than float32.
struct Widen {
    void operator()(at::Tensor& value) const {
        if (value.defined() && (value.scalar_type() == at::kBFloat16 || value.scalar_type() == at::kHalf))
            value = value.to(at::kFloat);
    }
};

/// Calls `change` with every tensor in `value`, or `change.own(value)` if it accepts that.
template <class T, class Change>
void change_tensors(T& value, const Change& change) {
    if constexpr (std::is_same_v<T, at::Tensor>) {
        change(value);
    } else if constexpr (requires { change.own(value); }) {
        change.own(value);
    } else if constexpr (std::is_scalar_v<T> || std::is_same_v<T, std::string> || std::is_empty_v<T>) {
        // nothing that has a graph
    } else if constexpr (Iterable<T>) {
        for (auto& each : value) {
            if constexpr (requires { each.second; }) {
                change_tensors(each.second, change);
            } else {
                change_tensors(each, change);
            }
        }
        if constexpr (outputs::HasLogitsMember<T>)
            change_tensors(value.logits, change);  // see `NamedOutputs`
    } else if constexpr (Elements<T>) {
        std::apply([&](auto&... each) { (change_tensors(each, change), ...); }, value);
    } else if constexpr (requires { value.has_value(), *value; }) {
        if (value.has_value()) change_tensors(*value, change);
    } else {
        constexpr std::size_t count = std::is_aggregate_v<T> ? field_count<T>() : 0;
        static_assert(count > 0 || !std::is_same_v<Change, Widen>,
                      "retort: the outputs of a forward under reduced precision contain a type whose "
                      "tensors retort does not know: expected tensors, containers of them, and aggregates "
                      "of up to 16 such members");
        static_assert(
            count > 0 || !std::is_same_v<Change, Detach>,
            "retort: the outputs of a learner's forward contain a type whose tensors retort does not "
            "know: expected tensors, containers of them, and aggregates of up to 16 such members; for "
            "another type, provide a function detached(outputs) in its namespace");
        const auto all = [&](auto&... each) { (change_tensors(each, change), ...); };
#define RETORT_DETACH_FIELDS(number, ...) \
    if constexpr (count == number) {      \
        auto& [__VA_ARGS__] = value;      \
        all(__VA_ARGS__);                 \
    }
        RETORT_DETACH_FIELDS(1, a)
        RETORT_DETACH_FIELDS(2, a, b)
        RETORT_DETACH_FIELDS(3, a, b, c)
        RETORT_DETACH_FIELDS(4, a, b, c, d)
        RETORT_DETACH_FIELDS(5, a, b, c, d, e)
        RETORT_DETACH_FIELDS(6, a, b, c, d, e, f)
        RETORT_DETACH_FIELDS(7, a, b, c, d, e, f, g)
        RETORT_DETACH_FIELDS(8, a, b, c, d, e, f, g, h)
        RETORT_DETACH_FIELDS(9, a, b, c, d, e, f, g, h, i)
        RETORT_DETACH_FIELDS(10, a, b, c, d, e, f, g, h, i, j)
        RETORT_DETACH_FIELDS(11, a, b, c, d, e, f, g, h, i, j, k)
        RETORT_DETACH_FIELDS(12, a, b, c, d, e, f, g, h, i, j, k, l)
        RETORT_DETACH_FIELDS(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
        RETORT_DETACH_FIELDS(14, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
        RETORT_DETACH_FIELDS(15, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
        RETORT_DETACH_FIELDS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
#undef RETORT_DETACH_FIELDS
    }
}

/// The outputs as constants: the same values, detached from the graph.
template <class O>
O as_constants(const O& outputs) {
    O result = outputs;
    change_tensors(result, Detach{});
    return result;
}

}  // namespace retort::detail
