// SPDX-License-Identifier: BSL-1.0
/// \file
/// Stochastic gradient descent.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/clone.h>
#include <torch/optim/optimizer.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/optim/detail/fused_optimizer.hpp>
#include <retort/optim/detail/update_kernel.hpp>

namespace retort {

class MultiTensorSgd;

/// Stochastic gradient descent with momentum.
///
/// Formula: \f$ g \leftarrow g + \lambda\theta;\; v \leftarrow \mu v + (1 - d) g;\; \theta \leftarrow \theta
/// - \eta v \f$ (with Nesterov's momentum \f$ \theta - \eta (g + \mu v) \f$); the first v is g. Source:
/// Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning",
/// ICML 2013, in the form of `torch::optim::SGD`. Sparse gradients are accepted without momentum and weight decay,
/// otherwise refused.
struct Sgd {
    double learning_rate = 0.1;  ///< \f$ \eta \f$, at least 0
    double momentum = 0.0;       ///< \f$ \mu \f$, at least 0
    double dampening = 0.0;      ///< d; 0 with Nesterov's momentum
    double weight_decay = 0.0;   ///< \f$ \lambda \f$, at least 0
    bool nesterov = false;       ///< needs a momentum above 0

    /// \throws ConfigError as `check` does
    std::unique_ptr<MultiTensorSgd> build(std::vector<at::Tensor> parameters) const;
    /// \throws ConfigError if an option is out of its range
    void check() const {
        detail::check_range("Sgd", "a learning rate", learning_rate, detail::at_least(0));
        detail::check_range("Sgd", "a momentum", momentum, detail::at_least(0));
        detail::check_range("Sgd", "a weight decay", weight_decay, detail::at_least(0));
        if (!std::isfinite(dampening)) {
            throw ConfigError(detail::concat("Sgd: expected a finite dampening, found ", dampening));
        }
        if (nesterov && (momentum == 0 || dampening != 0)) {
            throw ConfigError(detail::concat(
                "Sgd: Nesterov's momentum needs a momentum above 0 and no dampening, found momentum ",
                momentum, " and dampening ", dampening));
        }
    }
};

namespace detail {

/// One step of `Sgd` on the elements of a parameter.
template <class T>
struct SgdKernel {
    T* parameter;
    const T* gradient;
    T* momentum;  // null: none
    T rate, factor, rest, decay;
    bool fresh, nesterov;

    template <bool fused>
    [[gnu::always_inline]] static inline T decayed(T gradient, T parameter, T decay, bool decays) {
        return decays ? multiply_add<fused>(parameter, decay, gradient) : gradient;
    }

    template <bool fused>
    [[gnu::always_inline]] inline void block(std::int64_t at, int count) const {
        T* const p = parameter + at;
        const T* const g = gradient + at;
        T* const v = momentum == nullptr ? nullptr : momentum + at;
        const bool decays = decay != 0;
        if (momentum == nullptr) {
            RETORT_UPDATE_LOOP
            for (int i = 0; i < count; ++i)
                p[i] = multiply_add<fused>(decayed<fused>(g[i], p[i], decay, decays), -rate, p[i]);
        } else if (fresh) {
            RETORT_UPDATE_LOOP
            for (int i = 0; i < count; ++i) {
                const T u = decayed<fused>(g[i], p[i], decay, decays);
                v[i] = u;
                p[i] = multiply_add<fused>(nesterov ? multiply_add<fused>(u, factor, u) : u, -rate, p[i]);
            }
        } else {
            RETORT_UPDATE_LOOP
            for (int i = 0; i < count; ++i) {
                const T u = decayed<fused>(g[i], p[i], decay, decays);
                const T moved = multiply_add<fused>(u, rest, v[i] * factor);
                v[i] = moved;
                p[i] = multiply_add<fused>(nesterov ? multiply_add<fused>(moved, factor, u) : moved, -rate,
                                           p[i]);
            }
        }
    }
};

}  // namespace detail

/// Options of one parameter group of a `MultiTensorSgd`.
using MultiTensorSgdOptions = detail::GroupOptions<Sgd>;

/// The optimizer that `Sgd` builds. Bit-identical to `torch::optim::SGD` on x86-64. On the CPU one loop updates
/// all parameters (float and double; dense), elsewhere multi-tensor operators do, whose number does not depend on
/// that of the parameters.
class MultiTensorSgd : public detail::FusedOptimizer<MultiTensorSgd, Sgd, 1> {
  public:
    static constexpr const char* name = "Sgd";
    static constexpr std::array<const char*, 1> slot_names{"momentum"};
    static constexpr bool counts_steps = false;
    static bool takes_sparse(const Sgd& options) {
        return options.momentum == 0 && options.weight_decay == 0;
    }

    using FusedOptimizer::FusedOptimizer;

  private:
    friend FusedOptimizer;

    template <class T>
    void step_dense(const Moves& moved, const Sgd& options) {
        detail::SgdKernel<T> kernel{};
        kernel.rate = static_cast<T>(options.learning_rate);
        kernel.factor = static_cast<T>(options.momentum);
        kernel.rest = static_cast<T>(1.0 - options.dampening);
        kernel.decay = static_cast<T>(options.weight_decay);
        kernel.nesterov = options.nesterov;
        for (const auto& each : moved) {
            kernel.parameter = each.parameter->template data_ptr<T>();
            kernel.gradient = each.gradient->template data_ptr<T>();
            kernel.momentum = nullptr;
            if (options.momentum != 0) {
                kernel.fresh = !each.state->of[0].defined();
                each.state->need(0, *each.parameter);
                kernel.momentum = each.state->of[0].template data_ptr<T>();
            }
            std::get<detail::Updates<detail::SgdKernel<T>>>(updates_).add(kernel, each.parameter->numel());
        }
    }
    void finish_dense() {
        std::apply([](auto&... each) { (each.run(), ...); }, updates_);
    }

    void step_operators(const Moves& all, const Sgd& options) {
        Moves moved;
        for (const auto& each : all) {
            if (each.gradient->layout() == at::kStrided) {
                moved.push_back(each);
            } else {
                each.parameter->add_(*each.gradient, -options.learning_rate);
            }
        }
        if (moved.empty()) return;
        const auto parameters = detail::list_of(moved, [](const auto& each) { return *each.parameter; });
        std::vector<at::Tensor> update =
            detail::list_of(moved, [](const auto& each) { return *each.gradient; });
        if (options.weight_decay != 0) update = at::_foreach_add(update, parameters, options.weight_decay);
        if (options.momentum != 0) {
            std::vector<at::Tensor> momenta, old_momenta, old_update;
            for (std::size_t i = 0; i < moved.size(); ++i) {
                at::Tensor& momentum = moved[i].state->of[0];
                if (!momentum.defined()) {
                    momentum = update[i].clone();  // the first momentum is the first update, undampened
                } else {
                    old_momenta.push_back(momentum);
                    old_update.push_back(update[i]);
                }
                momenta.push_back(momentum);
            }
            if (!old_momenta.empty()) {
                at::_foreach_mul_(old_momenta, options.momentum);
                at::_foreach_add_(old_momenta, old_update, 1.0 - options.dampening);
            }
            update = options.nesterov ? at::_foreach_add(update, momenta, options.momentum) : momenta;
        }
        at::_foreach_add_(parameters, update, -options.learning_rate);
    }

    std::tuple<detail::Updates<detail::SgdKernel<float>>, detail::Updates<detail::SgdKernel<double>>>
        updates_;
};

inline std::unique_ptr<MultiTensorSgd> Sgd::build(std::vector<at::Tensor> parameters) const {
    return std::make_unique<MultiTensorSgd>(std::move(parameters), *this);
}

}  // namespace retort
