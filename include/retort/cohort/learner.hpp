// SPDX-License-Identifier: BSL-1.0
/// \file
/// A learner: a network with its optimizer.
#pragma once

#include <torch/nn/module.h>

#include <concepts>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/core/network.hpp>
#include <retort/optim/policy.hpp>

namespace retort {

/// A network with its optimizer (see `OptimizerPolicy`; `WithLearningRate` gives it a schedule). Without an
/// optimizer it teaches and never learns.
///
///     retort::Learner{net, retort::Sgd{.learning_rate = 0.1}}
///     retort::Learner{teacher}.named("resnet110")
template <Network N>
class Learner {
  public:
    using NetworkType = N;

    /// \param network a module holder, a `shared_ptr` to a module, or a module object that outlives the learner
    template <class M, class O>
        requires std::same_as<std::remove_cvref_t<M>, N>
    explicit Learner(M&& network, O&& optimizer)
        : network_(network), optimizer_(as_policy(std::forward<O>(optimizer))) {
        static_assert(!detail::ModuleObject<N> || std::is_lvalue_reference_v<M>,
                      "retort: a module object must outlive its learner: pass a variable, a holder or a "
                      "shared_ptr");
    }
    template <class M>
        requires std::same_as<std::remove_cvref_t<M>, N>
    explicit Learner(M&& network) : network_(network) {
        static_assert(!detail::ModuleObject<N> || std::is_lvalue_reference_v<M>,
                      "retort: a module object must outlive its learner: pass a variable, a holder or a "
                      "shared_ptr");
    }

    /// The same learner with a name, for pictures.
    Learner named(std::string name) && {
        name_ = std::move(name);
        return std::move(*this);
    }
    Learner named(std::string name) const& { return Learner(*this).named(std::move(name)); }

    const NetworkRef<N>& network() const { return network_; }
    torch::nn::Module& module() const { return network_.module(); }
    const std::string& name() const { return name_; }
    /// What a run builds the optimizer from; empty if there is none.
    const std::optional<OptimizerPolicy>& optimizer() const { return optimizer_; }

  private:
    template <class O>
    static OptimizerPolicy as_policy(O&& optimizer) {
        static_assert(
            std::convertible_to<O, OptimizerPolicy>,
            "retort: not an optimizer: expected a recipe (retort::Sgd, retort::FromTorch<...>), a "
            "torch::optim::Optimizer in a variable that outlives the learner, or a shared_ptr to one");
        return std::forward<O>(optimizer);
    }

    NetworkRef<N> network_;
    std::optional<OptimizerPolicy> optimizer_;
    std::string name_;
};

template <class N, class O>
Learner(const N&, const O&) -> Learner<N>;
template <class N>
Learner(const N&) -> Learner<N>;

}  // namespace retort
