// SPDX-License-Identifier: BSL-1.0
/// \file
/// Rules that turn the names in a file into those of a module, and back.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/io/state_dict.hpp>

namespace retort {

/// Turns a name in a file into the module's; `std::nullopt` leaves the tensor out.
using NameRule = std::function<std::optional<std::string>(std::string)>;

/// Applied one after the other.
using NameRules = std::vector<NameRule>;

namespace names {

/// Strips `prefix` from names that begin with it.
inline NameRule strip(std::string prefix) {
    return [prefix = std::move(prefix)](std::string name) -> std::optional<std::string> {
        if (name.starts_with(prefix)) name.erase(0, prefix.size());
        return name;
    };
}

/// Prepends `prefix` to every name.
inline NameRule add(std::string prefix) {
    return [prefix = std::move(prefix)](const std::string& name) -> std::optional<std::string> {
        std::string result = prefix;
        return result.append(name);
    };
}

/// Replaces `from` by `to` where a name begins with it: `replace("layer1.", "stages.0.")`.
inline NameRule replace(std::string from, std::string to) {
    return [from = std::move(from), to = std::move(to)](std::string name) -> std::optional<std::string> {
        if (name.starts_with(from)) name.replace(0, from.size(), to);
        return name;
    };
}

/// Replaces `from` by `to` wherever it occurs in a name: `replace_within(".downsample.0.", ".shortcut.")`.
/// \throws ConfigError if `from` is empty
inline NameRule replace_within(std::string from, std::string to) {
    if (from.empty())
        throw ConfigError("names::replace_within: expected what to replace, found an empty text");
    return [from = std::move(from), to = std::move(to)](std::string name) -> std::optional<std::string> {
        for (std::size_t at = name.find(from); at != name.npos; at = name.find(from, at + to.size()))
            name.replace(at, from.size(), to);
        return name;
    };
}

/// Leaves out names that begin with `prefix`, such as a classifier for other classes.
inline NameRule leave_out(std::string prefix) {
    return [prefix = std::move(prefix)](std::string name) -> std::optional<std::string> {
        if (name.starts_with(prefix)) return std::nullopt;
        return name;
    };
}

/// Leaves out all names that do not begin with `prefix`, and strips it from the others: one part of a larger model.
inline NameRule only(std::string prefix) {
    return [prefix = std::move(prefix)](std::string name) -> std::optional<std::string> {
        if (!name.starts_with(prefix)) return std::nullopt;
        return name.substr(prefix.size());
    };
}

}  // namespace names

/// The tensors of a dictionary under the names that the rules give them, in the same order.
///
///     retort::write_weights("student.pt", retort::renamed(retort::state_dict(*student),
///                                                         {retort::names::replace("classifier.", "fc.")}));
/// \throws ConfigError if two names become the same
inline StateDict renamed(const StateDict& dictionary, const NameRules& rules) {
    StateDict result("tensor");
    for (const auto& item : dictionary) {
        std::optional<std::string> name = item.key();
        for (const NameRule& rule : rules) {
            if (name) name = rule(std::move(*name));
        }
        if (!name) continue;
        if (result.contains(*name)) {
            throw ConfigError(detail::concat(
                "expected the rules to give each tensor a different name, found \"", *name, "\" twice"));
        }
        result.insert(std::move(*name), item.value());
    }
    return result;
}

}  // namespace retort
