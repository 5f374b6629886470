// SPDX-License-Identifier: BSL-1.0
/// \file
/// The outputs of a teacher loaded from a file.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include <retort/core/error.hpp>

namespace retort {

/// Tensors by name, for `tap<"name">`, and the logits among them.
struct NamedOutputs : std::map<std::string, at::Tensor> {
    at::Tensor logits;

    /// Selects a named output as the logits.
    /// \throws ConfigError if there is none
    void take_logits(const std::string& name, const std::string& where, const char* option) {
        const auto found = find(name);
        if (found == end()) {
            std::string names;
            for (const auto& [each, tensor] : *this) names.append(names.empty() ? "" : ", ").append(each);
            throw ConfigError(
                detail::concat(where, ": expected an output \"", name, "\" (", option, "), found: ", names));
        }
        logits = found->second;
    }
};

}  // namespace retort
