// SPDX-License-Identifier: BSL-1.0
/// \file
/// What checkpoints compare of transforms and views: their types and parameters, as text.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <retort/detail/type_name.hpp>

namespace retort::data::detail {

template <class T>
concept Described = requires(const T& part) {
    { part.description() } -> std::convertible_to<std::string>;
};

/// The description of a transform or view policy: its own, or the name of a type that has no state.
template <class T>
std::string description_of(const T& part) {
    if constexpr (Described<T>) {
        return part.description();
    } else {
        static_assert(
            std::is_empty_v<T>,
            "retort: a transform or view policy with parameters needs a member `std::string description() "
            "const` that states them: checkpoints compare it, so that a run is not resumed with different "
            "ones");
        return std::string(::retort::detail::type_name<T>());
    }
}

/// The shortest text that round-trips.
inline std::string exact(double value) {
    std::array<char, 32> buffer{};
    return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr};
}
inline std::string exact(std::int64_t value) { return std::to_string(value); }
inline std::string exact(std::string_view value) { return std::string(value); }
inline std::string exact(const std::vector<double>& values) {
    std::string text;
    for (const double value : values) text.append(text.empty() ? "" : ", ").append(exact(value));
    return "{" + text + "}";
}

inline void add_fields(std::string& /*text*/) {}
template <class T, class... Others>
void add_fields(std::string& text, std::string_view name, const T& value, const Others&... others) {
    text.append(text.ends_with('{') ? "." : ", .").append(name).append(" = ").append(exact(value));
    add_fields(text, others...);
}

/// `Type{.name = value, ...}`, from alternating names and values.
template <class... Fields>
std::string described(std::string_view type, const Fields&... fields) {
    std::string text(type);
    text += '{';
    add_fields(text, fields...);
    return text += '}';
}

}  // namespace retort::data::detail
