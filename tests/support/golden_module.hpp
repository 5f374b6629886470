// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reference parameters for the learnable parts of terms.
#pragma once

#include <golden.hpp>

namespace retort_test::golden {

/// The library's and the reference's name of the same module: `{"convolution", "regressor.conv"}`.
using Renames = std::vector<std::pair<std::string, std::string>>;

/// The reference's name of a parameter or buffer: that of the module with the prefix replaced.
inline std::string reference_name(const std::string& ours, const Renames& renames) {
    for (const auto& [from, to] : renames) {
        if (ours == from) return to;
        if (ours.starts_with(from + ".")) return to + ours.substr(from.size());
    }
    return ours;
}

/// Sets all parameters and the running statistics of `module` to the reference's values. Returns the parameters
/// by the reference's names, as leaves for `agrees`.
inline Tensors load(torch::nn::Module& module, const Case& reference, const Renames& renames) {
    const torch::NoGradGuard guard;
    Tensors result;
    for (auto& each : module.named_parameters()) {
        const std::string name = reference_name(each.key(), renames);
        const auto value = reference.parameter(name);
        if (value.sizes() != each.value().sizes()) throw std::runtime_error(name + ": the sizes differ");
        each.value().copy_(value);
        result[name] = {each.value()};
    }
    for (auto& each : module.named_buffers()) {
        const std::string name = reference_name(each.key(), renames);
        if (reference.has_parameter(name)) each.value().copy_(reference.parameter(name));
    }
    return result;
}

/// Whether the running statistics of `module` have changed to the reference's.
inline Comparison statistics_agree(const torch::nn::Module& module, const Case& reference,
                                   const Renames& renames) {
    std::string difference;
    std::size_t compared = 0;
    for (const auto& each : module.named_buffers()) {
        const std::string name = "after." + reference_name(each.key(), renames);
        if (!reference.has_component(name)) continue;
        ++compared;
        if (!(deviation(each.value(), reference.component(name)) <= 1e-8)) difference += name + " differs; ";
    }
    for (const auto& [name, unused] : reference.components()) {
        if (name.starts_with("after.")) {
            if (compared == 0) difference += name + " was not compared; ";
            --compared;
        }
    }
    return Comparison(difference);
}

}  // namespace retort_test::golden
