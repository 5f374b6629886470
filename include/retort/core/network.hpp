// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a network is: a module holder, a `shared_ptr` to a module, or a module object.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <concepts>
#include <memory>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>

namespace retort {

namespace detail {

template <class T>
struct IsSharedModule : std::false_type {};
template <class M>
    requires std::derived_from<M, torch::nn::Module>
struct IsSharedModule<std::shared_ptr<M>> : std::true_type {};

template <class T>
concept ModuleHolder = std::is_base_of_v<torch::detail::ModuleHolderIndicator, T>;  // a private base
template <class T>
concept SharedModule = IsSharedModule<T>::value;
template <class T>
concept ModuleObject = std::derived_from<T, torch::nn::Module>;

}  // namespace detail

/// A network: a module holder (`TORCH_MODULE`), a `std::shared_ptr` to a module, or a module object.
template <class N>
concept Network = detail::ModuleHolder<N> || detail::SharedModule<N> || detail::ModuleObject<N>;

/// A network as the policies store it. A holder or `shared_ptr` shares ownership, as LibTorch's holders do; a module
/// object is held by reference and must outlive the policy: a copy would share its parameters but not its state.
template <Network N>
class NetworkRef {
  public:
    explicit(false) NetworkRef(N network)
        requires(!detail::ModuleObject<N>)
        : network_(std::move(network)) {
        bool empty = false;
        if constexpr (detail::ModuleHolder<N>) {
            empty = network_.is_empty();
        } else {
            empty = network_ == nullptr;
        }
        if (empty) throw ConfigError("network: expected a module, found an empty holder or null pointer");
    }
    explicit(false) NetworkRef(N& network)
        requires detail::ModuleObject<N>
        : network_(&network) {}
    NetworkRef(N&&)
        requires detail::ModuleObject<N>
    = delete;  // the object would be destroyed before the policy uses it: keep it in a variable or a shared_ptr

    /// The module.
    auto& operator*() const { return *pointer(); }
    auto* operator->() const { return pointer(); }
    /// The module as `torch::nn::Module`.
    torch::nn::Module& module() const { return *pointer(); }

  private:
    auto* pointer() const {
        if constexpr (detail::ModuleObject<N>) {
            return network_;
        } else if constexpr (detail::ModuleHolder<N>) {
            return network_.ptr().get();
        } else {
            return network_.get();
        }
    }
    std::conditional_t<detail::ModuleObject<N>, N*, N> network_;
};

/// A network whose `forward` takes an `I`. Written on `network->forward(x)`: `std::invocable` on a holder is
/// a hard error where forward does not accept the argument.
template <class N, class I>
concept Forwards =
    Network<N> && requires(const NetworkRef<N>& network, const I& value) { network->forward(value); };

/// The type that a network's `forward` returns for an `I`.
template <class N, class I>
using OutputsOf =
    std::remove_cvref_t<decltype(std::declval<const NetworkRef<N>&>()->forward(std::declval<const I&>()))>;

/// A parameter and its name within its module.
struct NamedParameter {
    std::string name;
    at::Tensor tensor;
};

namespace detail {

/// The parameters that are trained: those that require a gradient. A parameter shared by several modules appears
/// once, under its first name.
/// \param prefix prepended to the names
inline std::vector<NamedParameter> trainable_named_parameters(const torch::nn::Module& module,
                                                              const std::string& prefix = {}) {
    std::vector<NamedParameter> result;
    std::unordered_set<const void*> seen;
    for (const auto& item : module.named_parameters()) {
        if (item.value().requires_grad() && seen.insert(item.value().unsafeGetTensorImpl()).second) {
            std::string name = prefix;
            result.push_back({name.append(item.key()), item.value()});
        }
    }
    return result;
}
inline std::vector<at::Tensor> tensors_of(const std::vector<NamedParameter>& named) {
    std::vector<at::Tensor> result;
    for (const NamedParameter& each : named) result.push_back(each.tensor);
    return result;
}
inline std::vector<at::Tensor> trainable_parameters(const torch::nn::Module& module) {
    return tensors_of(trainable_named_parameters(module));
}

/// The gradients of parameters, where they have one.
inline std::vector<at::Tensor> gradients_of(const std::vector<at::Tensor>& parameters) {
    std::vector<at::Tensor> result;
    result.reserve(parameters.size());
    for (const at::Tensor& each : parameters) {
        if (each.grad().defined()) result.push_back(each.grad());
    }
    return result;
}

/// The device of a module: that of its first parameter or buffer; the CPU if it has none.
inline at::Device device_of(const torch::nn::Module& module) {
    const auto parameters = module.parameters();
    if (!parameters.empty()) return parameters.front().device();
    for (const at::Tensor& buffer : module.buffers()) {
        if (buffer.defined()) return buffer.device();
    }
    return at::Device(at::kCPU);
}

}  // namespace detail

/// Puts a module into evaluation mode while it lives, then restores all training flags, those of submodules included.
class EvalMode {
  public:
    explicit EvalMode(torch::nn::Module& module) : module_(module) {
        for (const auto& each : module.modules(/*include_self=*/false)) {
            any_ = any_ || each->is_training();
            flags_.push_back(each->is_training());
        }
        root_ = module.is_training();
        if (any_ || root_) module.eval();
    }
    EvalMode(const EvalMode&) = delete;
    EvalMode& operator=(const EvalMode&) = delete;
    ~EvalMode() {
        if (!any_ && !root_) return;
        // `train` sets a whole subtree, and `modules` lists parents before their children.
        module_.train(root_);
        auto flag = flags_.begin();
        for (const auto& each : module_.modules(/*include_self=*/false)) each->train(*flag++);
    }

  private:
    torch::nn::Module& module_;
    std::vector<bool> flags_;
    bool root_ = false;
    bool any_ = false;
};

}  // namespace retort
