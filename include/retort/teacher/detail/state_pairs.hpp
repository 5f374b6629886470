// SPDX-License-Identifier: BSL-1.0
/// \file
/// Pairs of corresponding tensors of two networks of the same architecture.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::detail {

using StatePairs = std::vector<std::pair<at::Tensor, at::Tensor>>;

/// The parameters and buffers of a network, paired with the student's.
/// \param who for errors: the policy
/// \param what the network is, for errors
/// \throws ConfigError if they differ in names, shapes or types, or share a tensor
inline StatePairs state_pairs(const char* who, const char* what, const torch::nn::Module& network,
                              const torch::nn::Module& student) {
    const auto refuse = [&](const std::string& name, const std::string& expected, const std::string& found) {
        throw ConfigError(concat(who, ": expected a network of the student's architecture; at \"", name,
                                 "\" expected ", expected, ", found ", found));
    };
    const auto kind = [](const at::Tensor& tensor) {
        return concat(shape_text(tensor), " of ", tensor.dtype());
    };
    StatePairs result;
    const auto add = [&](const auto& own, const auto& others) {
        for (std::size_t i = 0; i < others.size(); ++i) {
            const auto& theirs = others[i];
            if (i >= own.size()) refuse(theirs.key(), "it in both", "it only in the student");
            const auto& mine = own[i];
            if (mine.key() != theirs.key()) refuse(theirs.key(), "the same name in both", mine.key());
            if (mine.value().sizes() != theirs.value().sizes() ||
                mine.value().scalar_type() != theirs.value().scalar_type())
                refuse(theirs.key(), kind(theirs.value()), kind(mine.value()));
            if (mine.value().is_same(theirs.value()))
                refuse(theirs.key(), "two tensors", "one that both share");
            result.emplace_back(mine.value(), theirs.value());
        }
        if (own.size() > others.size())
            refuse(own[others.size()].key(), "it in both", concat("it only in the ", what));
    };
    add(network.named_parameters(), student.named_parameters());
    add(network.named_buffers(), student.named_buffers());
    return result;
}

/// Copies the student's parameters and buffers into a network.
/// \throws ConfigError as `state_pairs`; nothing is changed then
inline void copy_student(const char* who, const char* what, const torch::nn::Module& network,
                         const torch::nn::Module& student) {
    const StatePairs pairs = state_pairs(who, what, network, student);
    const at::NoGradGuard no_grad;
    for (const auto& [mine, theirs] : pairs) mine.copy_(theirs);
}

}  // namespace retort::detail
