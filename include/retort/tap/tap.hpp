// SPDX-License-Identifier: BSL-1.0
/// \file
/// Taps: intermediate tensors of a network, named at compile time.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/type_name.hpp>

namespace retort {

namespace detail {

/// A string usable as a template argument.
template <std::size_t N>
struct FixedString {
    char characters[N]{};
    constexpr explicit(false) FixedString(const char (&source)[N]) { std::copy_n(source, N, characters); }
    constexpr std::string_view view() const { return {characters, N - 1}; }
};

/// What identifies a tap: a pointer to a member, or a string.
template <class Kind>
struct TapKey {
    Kind kind;
    constexpr explicit(false) TapKey(Kind value) : kind(value) {}
};
template <std::size_t N>
struct TapKey<FixedString<N>> {
    FixedString<N> kind;
    constexpr explicit(false) TapKey(const char (&source)[N]) : kind(source) {}
};
template <std::size_t N>
TapKey(const char (&)[N]) -> TapKey<FixedString<N>>;
template <class Member, class Class>
TapKey(Member Class::*) -> TapKey<Member Class::*>;

template <std::size_t I, class C>
constexpr decltype(auto) element(const C& container) {
    if constexpr (requires { std::tuple_size<C>::value; }) {
        static_assert(I < std::tuple_size_v<C>,
                      "retort: the path of a tap leads past the end of an array, pair or tuple");
        if constexpr (I < std::tuple_size_v<C>) return std::get<I>(container);
    } else {
        static_assert(
            requires { container[I]; }, "retort: the path of a tap leads into a type that has no elements");
        if (container.size() <= I) {
            throw ShapeError(
                concat("tap: expected an element ", I, ", found only ", container.size(), " elements"));
        }
        return container[I];
    }
}

template <class C, std::size_t... Path>
constexpr decltype(auto) descend(const C& container, std::index_sequence<Path...>) {
    if constexpr (sizeof...(Path) == 0) {
        return (container);
    } else {
        return []<std::size_t First, std::size_t... Rest>(
                   const C& from, std::index_sequence<First, Rest...>) -> decltype(auto) {
            return descend(element<First>(from), std::index_sequence<Rest...>{});
        }(container, std::index_sequence<Path...>{});
    }
}

}  // namespace detail

/// Reads a member of the outputs, or an element of a member that is an array, vector or tuple. Created by
/// `retort::tap`.
template <auto Member, std::size_t... Path>
struct MemberTap;

template <class Tensor, class Class, Tensor Class::* Member, std::size_t... Path>
struct MemberTap<Member, Path...> {
    const at::Tensor& operator()(const Class& outputs) const {
        using Found =
            decltype(detail::descend(std::declval<const Tensor&>(), std::index_sequence<Path...>{}));
        static_assert(std::same_as<Found, const at::Tensor&>,
                      "retort: a tap must end at a tensor: the path after the member selects an "
                      "element of an array, vector or tuple");
        return detail::descend(outputs.*Member, std::index_sequence<Path...>{});
    }
    std::string name() const {
        std::string result{detail::member_name<Member>()};
        ((result += detail::concat('[', Path, ']')), ...);
        return result;
    }
};

/// Reads a named output: the outputs are a map from names to tensors (with `find` and `end`, like `std::map`).
/// Created by `retort::tap`.
template <detail::FixedString Name>
struct NamedTap {
    template <class O>
        requires requires(const O& outputs) {
            { outputs.find(std::string())->second } -> std::convertible_to<const at::Tensor&>;
            outputs.end();
        }
    const at::Tensor& operator()(const O& outputs) const {
        const auto found = outputs.find(std::string(Name.view()));
        if (found == outputs.end()) {
            std::string names;
            for (const auto& [key, tensor] : outputs) names += detail::concat(names.empty() ? "" : ", ", key);
            throw ConfigError(
                detail::concat("tap: expected an output \"", Name.view(), "\", found: ", names));
        }
        return found->second;
    }
    std::string name() const { return std::string(Name.view()); }
};

namespace detail {

template <TapKey Key, std::size_t... Path>
constexpr auto make_tap() {
    if constexpr (requires { Key.kind.view(); }) {
        static_assert(sizeof...(Path) == 0, "retort: a tap of a named output has no path after the name");
        return NamedTap<Key.kind>{};
    } else {
        return MemberTap<Key.kind, Path...>{};
    }
}

}  // namespace detail

/// `tap<&Outputs::body>`: a member of the outputs. `tap<&Outputs::stages, 2>`: an element of a member that is
/// an array, vector or tuple. `tap<"layer3">`: a named output.
template <detail::TapKey Key, std::size_t... Path>
inline constexpr auto tap = detail::make_tap<Key, Path...>();

/// Reads a tensor from outputs of type `O`: a tap, or any callable.
template <class T, class O>
concept TapOf = requires(const T& tap, const O& outputs) {
    { tap(outputs) } -> std::convertible_to<at::Tensor>;
};

namespace detail {

/// The name of a tap in messages: its own, or the type of the callable.
template <class T>
std::string tap_name(const T& tap) {
    if constexpr (requires { std::string(tap.name()); }) {
        return std::string(tap.name());
    } else {
        return "tap";
    }
}

}  // namespace detail
}  // namespace retort
