// SPDX-License-Identifier: BSL-1.0
/// \file
/// AdamW: Adam with decoupled weight decay.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_addcdiv.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_div.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sqrt.h>
#include <ATen/ops/maximum.h>
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

class MultiTensorAdamW;

/// Adam with decoupled weight decay.
///
/// Formula, in a parameter's step t (from 1): \f$ m \leftarrow \beta_1 m + (1 - \beta_1) g \f$,
/// \f$ v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \f$, \f$ \theta \leftarrow (1 - \eta\lambda)\theta - \eta
/// \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} \f$. With `amsgrad` the root is that of the
/// largest v so far. Source: Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019, Algorithm 2, in the form
/// of `torch::optim::AdamW`, where \f$ \lambda \f$ is multiplied with the learning rate; Reddi, Kale, Kumar, "On the
/// convergence of Adam and beyond", ICLR 2018, for `amsgrad` (the largest before its bias correction, as in LibTorch).
///
/// Sparse gradients are refused.
struct AdamW {
    double learning_rate = 1e-3;              ///< \f$ \eta \f$, at least 0
    std::array<double, 2> betas{0.9, 0.999};  ///< \f$ \beta_1, \beta_2 \f$, each at least 0, below 1
    double eps = 1e-8;                        ///< \f$ \epsilon \f$, at least 0
    double weight_decay = 1e-2;               ///< \f$ \lambda \f$, at least 0
    bool amsgrad = false;

    /// \throws ConfigError as `check` does
    std::unique_ptr<MultiTensorAdamW> build(std::vector<at::Tensor> parameters) const;
    /// \throws ConfigError if an option is out of its range
    void check() const {
        detail::check_range("AdamW", "a learning rate", learning_rate, detail::at_least(0));
        detail::check_range("AdamW", "an epsilon", eps, detail::at_least(0));
        detail::check_range("AdamW", "a weight decay", weight_decay, detail::at_least(0));
        for (const double beta : betas) {
            if (!(beta >= 0 && beta < 1)) {
                throw ConfigError(
                    detail::concat("AdamW: expected betas of at least 0 and below 1, found ", beta));
            }
        }
    }
};

namespace detail {

/// One step of `AdamW` on the elements of a parameter.
template <class T>
struct AdamWKernel {
    T* parameter;
    const T* gradient;
    T* first;
    T* second;
    T* largest;  // null: not amsgrad
    T keep;      // 1 - learning rate * weight decay
    T beta1, rest1, beta2, rest2, eps;
    T rate;        // learning rate / (1 - beta1^t)
    T correction;  // sqrt(1 - beta2^t)

    template <bool fused>
    [[gnu::always_inline]] inline void block(std::int64_t at, int count) const {
        T* const p = parameter + at;
        const T* const g = gradient + at;
        T* const m = first + at;
        T* const v = second + at;
        T below[update_block] = {};
        RETORT_UPDATE_LOOP
        for (int i = 0; i < count; ++i) {
            m[i] = multiply_add<fused>(g[i], rest1, m[i] * beta1);
            v[i] = below[i] = multiply_add<fused>(g[i] * rest2, g[i], v[i] * beta2);
        }
        if (largest != nullptr) {
            T* const top = largest + at;
            RETORT_UPDATE_LOOP
            for (int i = 0; i < count; ++i) {
                // A NaN stays, as in at::maximum.
                top[i] = below[i] = below[i] <= top[i] || top[i] != top[i] ? top[i] : below[i];
            }
        }
        square_roots<fused>(below);
        RETORT_UPDATE_LOOP
        for (int i = 0; i < count; ++i) {
            const T step = m[i] / (below[i] / correction + eps);
            p[i] = multiply_add<fused>(step, -rate, p[i] * keep);
        }
    }
};

}  // namespace detail

/// Options of one parameter group of a `MultiTensorAdamW`.
using MultiTensorAdamWOptions = detail::GroupOptions<AdamW>;

/// The optimizer that `AdamW` builds. Agrees with `torch::optim::AdamW` except for rounding (a few units in the last
/// place per step). On the CPU one loop updates all parameters (float and double; dense), elsewhere multi-tensor
/// operators do, whose number does not depend on that of the parameters (except with `amsgrad`).
class MultiTensorAdamW : public detail::FusedOptimizer<MultiTensorAdamW, AdamW, 3> {
  public:
    static constexpr const char* name = "AdamW";
    static constexpr std::array<const char*, 3> slot_names{"first_moment", "second_moment",
                                                           "largest_second_moment"};
    static constexpr bool counts_steps = true;
    static bool takes_sparse(const AdamW&) { return false; }

    using FusedOptimizer::FusedOptimizer;

  private:
    friend FusedOptimizer;

    static double rate(const AdamW& options, std::int64_t steps) {
        return options.learning_rate / (1 - std::pow(options.betas[0], static_cast<double>(steps)));
    }
    static double correction(const AdamW& options, std::int64_t steps) {
        return std::sqrt(1 - std::pow(options.betas[1], static_cast<double>(steps)));
    }

    template <class T>
    void step_dense(const Moves& moved, const AdamW& options) {
        const auto& betas = options.betas;
        detail::AdamWKernel<T> kernel{};
        kernel.keep = static_cast<T>(1 - options.learning_rate * options.weight_decay);
        kernel.beta1 = static_cast<T>(betas[0]);
        kernel.rest1 = static_cast<T>(1 - betas[0]);
        kernel.beta2 = static_cast<T>(betas[1]);
        kernel.rest2 = static_cast<T>(1 - betas[1]);
        kernel.eps = static_cast<T>(options.eps);
        std::int64_t steps = 0;
        for (const auto& each : moved) {
            auto& state = *each.state;
            // Powers are slow, and most parameters have the same number of steps.
            if (state.steps != steps) {
                steps = state.steps;
                kernel.rate = static_cast<T>(rate(options, steps));
                kernel.correction = static_cast<T>(correction(options, steps));
            }
            kernel.parameter = each.parameter->template data_ptr<T>();
            kernel.gradient = each.gradient->template data_ptr<T>();
            for (std::size_t slot = 0; slot < 2; ++slot) state.need(slot, *each.parameter);
            kernel.first = state.of[0].template data_ptr<T>();
            kernel.second = state.of[1].template data_ptr<T>();
            if (options.amsgrad) {
                state.need(2, *each.parameter);
                kernel.largest = state.of[2].template data_ptr<T>();
            }
            std::get<detail::Updates<detail::AdamWKernel<T>>>(updates_).add(kernel, each.parameter->numel());
        }
    }
    void finish_dense() {
        std::apply([](auto&... each) { (each.run(), ...); }, updates_);
    }

    void step_operators(const Moves& moved, const AdamW& options) {
        std::vector<at::Scalar> rates, corrections;
        for (const auto& each : moved) {
            rates.emplace_back(-rate(options, each.state->steps));
            corrections.emplace_back(correction(options, each.state->steps));
            for (std::size_t slot = 0; slot < 2; ++slot) each.state->need(slot, *each.parameter);
        }
        const auto parameters = detail::list_of(moved, [](const auto& each) { return *each.parameter; });
        const auto gradients = detail::list_of(moved, [](const auto& each) { return *each.gradient; });
        const auto first = detail::list_of(moved, [](const auto& each) { return each.state->of[0]; });
        const auto second = detail::list_of(moved, [](const auto& each) { return each.state->of[1]; });
        const auto& betas = options.betas;
        if (options.weight_decay != 0)
            at::_foreach_mul_(parameters, 1 - options.learning_rate * options.weight_decay);
        at::_foreach_mul_(first, betas[0]);
        at::_foreach_add_(first, gradients, 1 - betas[0]);
        at::_foreach_mul_(second, betas[1]);
        at::_foreach_addcmul_(second, gradients, gradients, 1 - betas[1]);
        std::vector<at::Tensor> below = second;
        if (options.amsgrad) {
            for (std::size_t i = 0; i < moved.size(); ++i) {
                moved[i].state->need(2, parameters[i]);
                at::Tensor& largest = moved[i].state->of[2];
                at::maximum_out(largest, largest, second[i]);
                below[i] = largest;
            }
        }
        below = at::_foreach_sqrt(below);
        at::_foreach_div_(below, corrections);
        at::_foreach_add_(below, options.eps);
        at::_foreach_addcdiv_(parameters, first, below, rates);
    }

    std::tuple<detail::Updates<detail::AdamWKernel<float>>, detail::Updates<detail::AdamWKernel<double>>>
        updates_;
};

inline std::unique_ptr<MultiTensorAdamW> AdamW::build(std::vector<at::Tensor> parameters) const {
    return std::make_unique<MultiTensorAdamW>(std::move(parameters), *this);
}

}  // namespace retort
