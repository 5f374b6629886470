// SPDX-License-Identifier: BSL-1.0
/// \file
/// Parameters and buffers of modules, in checkpoints.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/zeros_like.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/tensor.hpp>

namespace retort::detail {

/// Stores or sets parameters and buffers, by their names.
inline void archive_module(Archive& archive, const torch::nn::Module& module) {
    const auto each = [&](auto&& named) {
        for (auto& item : named) archive(item.key(), item.value());
    };
    archive.in("parameters", [&] { each(module.named_parameters()); });
    archive.in("buffers", [&] { each(module.named_buffers()); });
}

/// Stores or sets which parameters have a gradient (not its values, which are used up by the step): where `zero_grad`
/// leaves zeros, an optimizer still updates a parameter by its momentum, and skips one without a gradient.
inline void archive_gradients(Archive& archive, const std::vector<at::Tensor>& parameters) {
    std::vector<std::int64_t> which;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (parameters[i].grad().defined()) which.push_back(static_cast<std::int64_t>(i));
    }
    archive("gradients", which);
    if (!archive.loading()) return;
    for (const at::Tensor& parameter : parameters) parameter.mutable_grad() = at::Tensor();
    for (const std::int64_t i : which) {
        if (i < 0 || static_cast<std::size_t>(i) >= parameters.size()) {
            throw CheckpointError(concat(archive.where(), ": gradients: no parameter ", i));
        }
        const at::Tensor& parameter = parameters[static_cast<std::size_t>(i)];
        parameter.mutable_grad() = at::zeros_like(parameter);
    }
}

/// Multiplies the gradients of parameters that have one.
inline void scale_gradients(const std::vector<at::Tensor>& parameters, double factor) {
    const at::NoGradGuard no_grad;
    const std::vector<at::Tensor> gradients = gradients_of(parameters);
    if (!gradients.empty()) at::_foreach_mul_(gradients, factor);
}

/// A hash of names, types, shapes and values of all parameters and buffers.
/// \param without tensors to skip
inline std::string hash_of_modules(const std::vector<torch::nn::Module*>& modules,
                                   const std::vector<at::Tensor>& without = {}) {
    Hash hash;
    const auto each = [&](const auto& named) {
        for (const auto& item : named) {
            if (std::any_of(without.begin(), without.end(),
                            [&](const at::Tensor& other) { return other.is_same(item.value()); }))
                continue;
            hash.add(item.key());
            if (!item.value().defined()) continue;
            const at::Tensor tensor = in_memory(item.value());
            hash.add(concat(at::toString(tensor.scalar_type()), shape_text(tensor)));
            hash.add(tensor.data_ptr(), tensor.nbytes());
        }
    };
    for (const torch::nn::Module* module : modules) {
        each(module->named_parameters());
        each(module->named_buffers());
    }
    return hash.text();
}

}  // namespace retort::detail
