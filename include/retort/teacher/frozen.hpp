// SPDX-License-Identifier: BSL-1.0
/// \file
/// A trained network that teaches and never changes.
#pragma once

#include <ATen/core/grad_mode.h>

#include <utility>
#include <vector>

#include <retort/teacher/concept.hpp>

namespace retort {

/// A trained network that teaches and never changes: every forward runs without gradient and in evaluation mode, and
/// leaves parameters, buffers, `requires_grad` and all training flags unchanged. Shares the network with its owner.
///
/// The guard is `NoGradGuard`, not inference mode: inference tensors cannot be saved for the student's
/// backward pass.
template <Network N>
class Frozen {
  public:
    explicit Frozen(N network)
        requires(!detail::ModuleObject<N>)
        : network_(std::move(network)) {}
    explicit Frozen(N& network)
        requires detail::ModuleObject<N>
        : network_(network) {}
    explicit Frozen(N&& network)
        requires detail::ModuleObject<N>
        : network_(network) {
        static_assert(
            !detail::ModuleObject<N>,
            "retort: a module object must outlive its teacher policy: pass a variable, a holder or a "
            "shared_ptr");
    }

    template <class I>
        requires Forwards<N, I>
    OutputsOf<N, I> operator()(const I& value) const {
        const at::NoGradGuard no_grad;
        const EvalMode eval(network_.module());
        return network_->forward(value);
    }

    std::vector<torch::nn::Module*> modules() const { return {&network_.module()}; }

  private:
    NetworkRef<N> network_;
};

template <Network N>
Frozen(N) -> Frozen<N>;

}  // namespace retort
