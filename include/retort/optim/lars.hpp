// SPDX-License-Identifier: BSL-1.0
/// \file
/// Layer-wise adaptive rate scaling (LARS).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
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
#include <retort/detail/parallel.hpp>
#include <retort/optim/detail/fused_optimizer.hpp>
#include <retort/optim/detail/update_kernel.hpp>

namespace retort {

class MultiTensorLars;

/// Stochastic gradient descent whose rate is scaled, layer by layer, by the ratio of weight norm to gradient norm.
///
/// Formula: \f$ r = \text{trust} \cdot \|\theta\|_2 / (\|g\|_2 + \lambda \|\theta\|_2 + \epsilon) \f$ for each
/// parameter tensor, \f$ v \leftarrow \mu v + \eta r (g + \lambda\theta);\; \theta \leftarrow \theta - v \f$; the first
/// v is 0 before. Where a norm is 0, r is 1. Source: You, Gitman, Ginsburg, "Large batch training of convolutional
/// networks", 2017 (arXiv:1708.03888), Algorithm 1; without its \f$ \epsilon \f$ (0 by default) and its polynomial
/// decay: that is `WithLearningRate{Lars{}, Polynomial{}}`. The paper does not cover norms of 0, biases and
/// normalization: see `exclude_vectors`.
///
/// Sparse gradients are refused.
struct Lars {
    double learning_rate = 0.1;  ///< \f$ \eta \f$, at least 0
    double momentum = 0.9;       ///< \f$ \mu \f$, at least 0
    double weight_decay = 0.0;   ///< \f$ \lambda \f$, at least 0
    double trust = 1e-3;         ///< above 0
    double eps = 0.0;            ///< \f$ \epsilon \f$, at least 0
    /// Whether parameters of fewer than two dimensions (biases, normalization) take plain steps: r = 1, \f$ \lambda =
    /// 0 \f$.
    bool exclude_vectors = true;

    /// \throws ConfigError as `check` does
    std::unique_ptr<MultiTensorLars> build(std::vector<at::Tensor> parameters) const;
    /// \throws ConfigError if an option is out of its range
    void check() const {
        detail::check_range("Lars", "a learning rate", learning_rate, detail::at_least(0));
        detail::check_range("Lars", "a momentum", momentum, detail::at_least(0));
        detail::check_range("Lars", "a weight decay", weight_decay, detail::at_least(0));
        detail::check_range("Lars", "an epsilon", eps, detail::at_least(0));
        if (!(trust > 0 && std::isfinite(trust))) {
            throw ConfigError(detail::concat("Lars: expected a trust above 0, found ", trust));
        }
    }
};

namespace detail {

/// One step of `Lars` on the elements of a parameter.
template <class T>
struct LarsKernel {
    T* parameter;
    const T* gradient;
    T* momentum;
    T rate, factor, decay;

    template <bool fused>
    [[gnu::always_inline]] inline void block(std::int64_t at, int count) const {
        T* const p = parameter + at;
        const T* const g = gradient + at;
        T* const v = momentum + at;
        const bool decays = decay != 0;
        RETORT_UPDATE_LOOP
        for (int i = 0; i < count; ++i) {
            const T u = decays ? multiply_add<fused>(p[i], decay, g[i]) : g[i];
            v[i] = multiply_add<fused>(u, rate, v[i] * factor);
            p[i] -= v[i];
        }
    }
};

/// The Euclidean norm, summed in float64 in an order that depends only on the size.
template <class T>
double norm_of(const T* values, std::int64_t size) {
    constexpr std::int64_t width = 8;
    std::array<double, width> sums{};
    std::int64_t i = 0;
    for (; i + width <= size; i += width) {
        for (std::int64_t j = 0; j < width; ++j) {
            const double value = values[i + j];
            sums[static_cast<std::size_t>(j)] += value * value;
        }
    }
    double sum = 0;
    for (; i < size; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    for (const double each : sums) sum += each;
    return std::sqrt(sum);
}

}  // namespace detail

/// Options of one parameter group of a `MultiTensorLars`.
using MultiTensorLarsOptions = detail::GroupOptions<Lars>;

/// The optimizer that `Lars` builds. On the CPU one loop updates all parameters (float and double; dense), elsewhere
/// multi-tensor operators do; no device synchronization.
class MultiTensorLars : public detail::FusedOptimizer<MultiTensorLars, Lars, 1> {
  public:
    static constexpr const char* name = "Lars";
    static constexpr std::array<const char*, 1> slot_names{"momentum"};
    static constexpr bool counts_steps = false;
    static bool takes_sparse(const Lars&) { return false; }

    using FusedOptimizer::FusedOptimizer;

  private:
    friend FusedOptimizer;

    static bool excluded(const at::Tensor& parameter, const Lars& options) {
        return options.exclude_vectors && parameter.dim() < 2;
    }

    template <class T>
    void step_dense(const Moves& moved, const Lars& options) {
        std::vector<double> ratios(moved.size(), 1.0);
        const auto find = [&](std::int64_t begin, std::int64_t size) {
            for (std::int64_t i = begin; i < begin + size; ++i) {
                const auto& each = moved[static_cast<std::size_t>(i)];
                const at::Tensor& parameter = *each.parameter;
                if (excluded(parameter, options)) continue;
                const double weight = detail::norm_of(parameter.template data_ptr<T>(), parameter.numel());
                const double gradient =
                    detail::norm_of(each.gradient->template data_ptr<T>(), parameter.numel());
                if (weight != 0 && gradient != 0) {
                    ratios[static_cast<std::size_t>(i)] =
                        options.trust * weight / (gradient + options.weight_decay * weight + options.eps);
                }
            }
        };
        std::int64_t numbers = 0;
        for (const auto& each : moved) numbers += each.parameter->numel();
        const auto count = static_cast<std::int64_t>(moved.size());
        detail::parallel_pieces(count, numbers < (1 << 16) ? count : 1, find);

        detail::LarsKernel<T> kernel{};
        kernel.factor = static_cast<T>(options.momentum);
        for (std::size_t i = 0; i < moved.size(); ++i) {
            const auto& each = moved[i];
            each.state->need(0, *each.parameter);
            kernel.parameter = each.parameter->template data_ptr<T>();
            kernel.gradient = each.gradient->template data_ptr<T>();
            kernel.momentum = each.state->of[0].template data_ptr<T>();
            kernel.rate = static_cast<T>(options.learning_rate * ratios[i]);
            kernel.decay = excluded(*each.parameter, options) ? T(0) : static_cast<T>(options.weight_decay);
            std::get<detail::Updates<detail::LarsKernel<T>>>(updates_).add(kernel, each.parameter->numel());
        }
    }
    void finish_dense() {
        std::apply([](auto&... each) { (each.run(), ...); }, updates_);
    }

    void step_operators(const Moves& moved, const Lars& options) {
        Moves plain, adapted;
        for (const auto& each : moved) {
            each.state->need(0, *each.parameter);
            (excluded(*each.parameter, options) ? plain : adapted).push_back(each);
        }
        if (!plain.empty()) move(plain, lists(plain).gradients, at::Tensor(), options);
        if (adapted.empty()) return;
        const Lists all = lists(adapted);
        const at::Tensor weight = at::stack(at::_foreach_norm(all.parameters)).to(at::kDouble);
        const at::Tensor gradient = at::stack(at::_foreach_norm(all.gradients)).to(at::kDouble);
        at::Tensor ratios = weight * options.trust / (gradient + weight * options.weight_decay + options.eps);
        ratios = at::where((weight != 0).logical_and(gradient != 0), ratios, at::ones_like(ratios));
        const auto update = options.weight_decay != 0
                                ? at::_foreach_add(all.gradients, all.parameters, options.weight_decay)
                                : all.gradients;
        move(adapted, update, ratios, options);
    }
    struct Lists {
        std::vector<at::Tensor> parameters, gradients;
    };
    static Lists lists(const Moves& moved) {
        return {detail::list_of(moved, [](const auto& each) { return *each.parameter; }),
                detail::list_of(moved, [](const auto& each) { return *each.gradient; })};
    }
    /// \param ratios one for each; undefined: 1
    static void move(const Moves& moved, const std::vector<at::Tensor>& update, const at::Tensor& ratios,
                     const Lars& options) {
        const auto momenta = detail::list_of(moved, [](const auto& each) { return each.state->of[0]; });
        at::_foreach_mul_(momenta, options.momentum);
        if (ratios.defined()) {
            const auto each = ratios.unbind();
            std::vector<at::Tensor> scaled;
            for (std::size_t i = 0; i < moved.size(); ++i)
                scaled.push_back(update[i] * each[i].to(update[i].scalar_type()));
            at::_foreach_add_(momenta, scaled, options.learning_rate);
        } else {
            at::_foreach_add_(momenta, update, options.learning_rate);
        }
        at::_foreach_sub_(lists(moved).parameters, momenta);
    }

    std::tuple<detail::Updates<detail::LarsKernel<float>>, detail::Updates<detail::LarsKernel<double>>>
        updates_;
};

inline std::unique_ptr<MultiTensorLars> Lars::build(std::vector<at::Tensor> parameters) const {
    return std::make_unique<MultiTensorLars>(std::move(parameters), *this);
}

}  // namespace retort
