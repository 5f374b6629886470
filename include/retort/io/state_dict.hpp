// SPDX-License-Identifier: BSL-1.0
/// \file
/// The weights of a module by name, as Python's torch has them.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/ordered_dict.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace retort {

/// Tensors by name, in order.
using StateDict = torch::OrderedDict<std::string, at::Tensor>;

namespace detail {

/// Equal for tensors that are the same elements in memory, read in the same way.
using TensorIdentity =
    std::tuple<const void*, std::vector<std::int64_t>, std::vector<std::int64_t>, at::ScalarType, bool, bool>;
/// \pre it has elements
inline TensorIdentity identity_of(const at::Tensor& tensor) {
    return {tensor.data_ptr(),    tensor.sizes().vec(), tensor.strides().vec(),
            tensor.scalar_type(), tensor.is_conj(),     tensor.is_neg()};
}

inline void add_state(StateDict& result, const torch::nn::Module& module, const std::string& prefix) {
    for (const auto& each : module.named_parameters(/*recurse=*/false)) {
        result.insert(prefix + each.key(), each.value());
    }
    for (const auto& each : module.named_buffers(/*recurse=*/false)) {
        if (each.value().defined()) result.insert(prefix + each.key(), each.value());
    }
    for (const auto& child : module.named_children()) {
        std::string inner = prefix;
        inner.append(child.key()).append(".");
        add_state(result, *child.value(), inner);
    }
}

}  // namespace detail

/// All parameters and buffers of a module, with the names and in the order of Python's `state_dict()`: those of a module
/// before those of its children. A submodule that is registered twice appears twice, as in Python.
///
/// The tensors are the module's own, not copies; detach them before you compute with them.
inline StateDict state_dict(const torch::nn::Module& module) {
    StateDict result("tensor");
    detail::add_state(result, module, "");
    return result;
}

}  // namespace retort
