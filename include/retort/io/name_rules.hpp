// SPDX-License-Identifier: BSL-1.0
/// \file
/// How the names in a file become the names of a module.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace retort {

/// Turns a name in a file into the module's; nothing: the tensor is left out.
using NameRule = std::function<std::optional<std::string>(std::string)>;

/// Applied one after the other.
using NameRules = std::vector<NameRule>;

namespace names {

/// Takes `prefix` away where a name begins with it.
inline NameRule strip(std::string prefix) {
    return [prefix = std::move(prefix)](std::string name) -> std::optional<std::string> {
        if (name.starts_with(prefix)) name.erase(0, prefix.size());
        return name;
    };
}

/// Puts `prefix` before every name.
inline NameRule add(std::string prefix) {
    return [prefix = std::move(prefix)](const std::string& name) -> std::optional<std::string> {
        std::string result = prefix;
        return result.append(name);
    };
}

/// Puts `to` in the place of `from` where a name begins with it: `replace("layer1.", "stages.0.")`.
inline NameRule replace(std::string from, std::string to) {
    return [from = std::move(from), to = std::move(to)](std::string name) -> std::optional<std::string> {
        if (name.starts_with(from)) name.replace(0, from.size(), to);
        return name;
    };
}

/// Leaves out what begins with `prefix`, such as a classifier for other classes.
inline NameRule leave_out(std::string prefix) {
    return [prefix = std::move(prefix)](std::string name) -> std::optional<std::string> {
        if (name.starts_with(prefix)) return std::nullopt;
        return name;
    };
}

/// Leaves out all but what begins with `prefix`, and takes the prefix away: one part of a larger model.
inline NameRule only(std::string prefix) {
    return [prefix = std::move(prefix)](std::string name) -> std::optional<std::string> {
        if (!name.starts_with(prefix)) return std::nullopt;
        return name.substr(prefix.size());
    };
}

}  // namespace names
}  // namespace retort
