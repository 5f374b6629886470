// SPDX-License-Identifier: BSL-1.0
/// \file
/// Names of types and members, for messages.
#pragma once

#include <string>
#include <string_view>

namespace retort::detail {

template <class T>
constexpr std::string_view signature_of_type() {
    return __PRETTY_FUNCTION__;
}

template <auto Value>
constexpr std::string_view signature_of_value() {
    return __PRETTY_FUNCTION__;
}

/// The text after `marker` in a signature as GCC ("[with T = X; ...]") or Clang ("[T = X]") writes it.
constexpr std::string_view cut(std::string_view signature, std::string_view marker) {
    const auto begin = signature.rfind(marker);
    if (begin == std::string_view::npos) return signature;
    signature.remove_prefix(begin + marker.size());
    const auto end = signature.find_first_of(";]");
    return signature.substr(0, end);
}

/// `name::space::Type<...>`.
template <class T>
constexpr std::string_view qualified_type_name() {
    std::string_view signature = signature_of_type<T>();
    const auto begin = signature.find("T = ");
    if (begin == std::string_view::npos) return signature;
    signature.remove_prefix(begin + 4);
    const auto alias = signature.find("; std::string_view");  // GCC explains its aliases after the type
    signature = signature.substr(0, alias);
    if (signature.ends_with(']')) signature.remove_suffix(1);
    return signature;
}

/// `Type`: without namespaces, enclosing classes and template arguments.
template <class T>
constexpr std::string_view type_name() {
    std::string_view name = qualified_type_name<T>();
    if (name.ends_with('>')) {  // cut the last template arguments, not those of an enclosing class
        std::size_t depth = 0;
        auto begin = name.size();
        do {
            --begin;
            if (name[begin] == '>') ++depth;
            if (name[begin] == '<') --depth;
        } while (depth > 0 && begin > 0);
        name = name.substr(0, begin);
    }
    const auto colon = name.rfind("::");
    return colon == std::string_view::npos ? name : name.substr(colon + 2);
}

/// `body` of `&Outputs::body`.
template <auto Member>
constexpr std::string_view member_name() {
    std::string_view name = cut(signature_of_value<Member>(), "Value = ");
    if (name.ends_with(')')) name.remove_suffix(1);
    const auto colon = name.rfind("::");
    return colon == std::string_view::npos ? name : name.substr(colon + 2);
}

}  // namespace retort::detail
