// SPDX-License-Identifier: BSL-1.0
/// \file
/// Loads a state dictionary into a module.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/io/name_rules.hpp>
#include <retort/io/state_dict.hpp>

namespace retort {

struct LoadOptions {
    /// Applied in order to every name of the dictionary.
    NameRules names{};
    /// Every tensor of the module must be in the dictionary, and every one of the dictionary in the module. If false,
    /// what fits is loaded, and the report lists what was not.
    bool strict = true;
    /// Strip the prefix `module.`, which Python's data-parallel wrappers add, if all names in the dictionary have it
    /// and none in the module.
    bool strip_module_prefix = true;
};

/// What `load_state_dict` did not load.
struct LoadReport {
    std::vector<std::string> missing{};      ///< in the module, not in the dictionary
    std::vector<std::string> unexpected{};   ///< in the dictionary, not in the module
    std::vector<std::string> wrong_shape{};  ///< in both, with the two shapes
    bool empty() const { return missing.empty() && unexpected.empty() && wrong_shape.empty(); }
};

namespace detail {

inline std::string listed(const char* what, const std::vector<std::string>& names) {
    if (names.empty()) return "";
    std::string result = concat("; ", names.size(), " ", what, ": ");
    for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 20); ++i) {
        result.append(i > 0 ? ", " : "").append(names[i]);
    }
    return names.size() > 20 ? result.append(", ...") : result;
}

/// The rules of `options`, after the one that strips `module.` where it applies.
inline NameRules rules_for(const StateDict& own, const StateDict& dictionary, const LoadOptions& options) {
    NameRules rules = options.names;
    const auto prefixed = [](const auto& item) { return item.key().starts_with("module."); };
    if (options.strip_module_prefix && !dictionary.is_empty() &&
        std::all_of(dictionary.begin(), dictionary.end(), prefixed) &&
        std::none_of(own.begin(), own.end(), prefixed)) {
        rules.insert(rules.begin(), names::strip("module."));
    }
    return rules;
}

}  // namespace detail

/// Copies the tensors of a dictionary into those of the same names in a module, converting types and devices. On error
/// nothing is changed.
///
///     retort::load_state_dict(*teacher, retort::read_weights("resnet.pt"),
///                             {.names = {retort::names::replace("fc.", "classifier.")}});
///
/// A tensor of the module that has several names (tied weights) needs one of them in the dictionary.
/// \returns what was not loaded; empty if `strict`
/// \throws DataError if `strict` and names or shapes differ, with all of them listed; if not strict and nothing at all
/// fits; if the dictionary has different values for two names of one tensor. ConfigError if two names become the same
inline LoadReport load_state_dict(torch::nn::Module& module, const StateDict& dictionary,
                                  const LoadOptions& options = {}) {
    struct Copy {
        at::Tensor to, from;
        std::string name;
    };
    const StateDict own = state_dict(module);
    LoadReport report;
    std::vector<Copy> copies;
    std::map<detail::TensorIdentity, std::size_t> loaded;  // of the copies
    const StateDict given = renamed(dictionary, detail::rules_for(own, dictionary, options));
    for (const auto& item : given) {
        const std::string& name = item.key();
        const at::Tensor& tensor = item.value();
        const at::Tensor* mine = own.find(name);
        if (mine == nullptr) {
            report.unexpected.push_back(name);
        } else if (mine->sizes() != tensor.sizes()) {
            report.wrong_shape.push_back(detail::concat(name, " (", detail::shape_text(tensor), " for ",
                                                        detail::shape_text(*mine), ")"));
        } else {
            if (mine->numel() > 0) {
                const auto [first, fresh] = loaded.try_emplace(detail::identity_of(*mine), copies.size());
                if (!fresh) {
                    const Copy& other = copies[first->second];
                    if (!at::equal(other.from.to(tensor.options()), tensor)) {
                        throw DataError(
                            detail::concat("load_state_dict: ", other.name, " and ", name,
                                           ": expected equal values, since they are one tensor in "
                                           "the module, found different ones"));
                    }
                }
            }
            copies.push_back({*mine, tensor, name});
        }
    }
    for (const auto& item : own) {
        if (given.contains(item.key())) continue;
        const bool tied = item.value().numel() > 0 && loaded.contains(detail::identity_of(item.value()));
        if (!tied) report.missing.push_back(item.key());
    }
    if ((options.strict && !report.empty()) || (copies.empty() && !own.is_empty())) {
        throw DataError(detail::concat("load_state_dict: expected the ", own.size(),
                                       " tensors of the module, found ", copies.size(), " of them",
                                       detail::listed("missing", report.missing),
                                       detail::listed("unexpected", report.unexpected),
                                       detail::listed("of the wrong shape", report.wrong_shape)));
    }
    const at::NoGradGuard no_grad;
    for (Copy& each : copies) each.to.copy_(each.from);
    return report;
}

}  // namespace retort
