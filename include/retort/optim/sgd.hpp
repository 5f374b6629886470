// SPDX-License-Identifier: BSL-1.0
/// \file
/// Stochastic gradient descent on LibTorch's multi-tensor operators.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/add.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/empty_like.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>

#include <cmath>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <retort/core/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort {

/// Options of one parameter group of a `MultiTensorSgd`.
struct MultiTensorSgdOptions : torch::optim::OptimizerCloneableOptions<MultiTensorSgdOptions> {
    double learning_rate = 0.1;
    double momentum = 0.0;
    double dampening = 0.0;
    double weight_decay = 0.0;
    bool nesterov = false;

    double get_lr() const override { return learning_rate; }
    void set_lr(const double value) override { learning_rate = value; }
};

/// The optimiser that `Sgd` builds. Gives the same bits as `torch::optim::SGD`. Away from the CPU the number of
/// operators does not grow with the number of parameters. On the CPU the multi-tensor operators would only call
/// the single ones in loops of their own, so that each parameter goes through the caches several times; there
/// the parameters are updated one after the other.
class MultiTensorSgd : public torch::optim::Optimizer {
  public:
    MultiTensorSgd(std::vector<at::Tensor> parameters, const MultiTensorSgdOptions& options)
        : Optimizer(std::move(parameters), std::make_unique<MultiTensorSgdOptions>(options)) {}

    using Optimizer::step;
    /// One step. Parameters without a gradient stay as they are.
    at::Tensor step(LossClosure closure = nullptr) override {
        at::Tensor loss;
        if (closure != nullptr) {
            const at::AutoGradMode with_grad(true);
            loss = closure();
        }
        const at::NoGradGuard no_grad;
        for (torch::optim::OptimizerParamGroup& group : param_groups_) {
            step_group(group.params(), static_cast<const MultiTensorSgdOptions&>(group.options()));
        }
        return loss;
    }

    /// The momenta, for `torch::save` and `torch::load`. Options are not stored.
    void save(torch::serialize::OutputArchive& archive) const override {
        each_parameter([&](const std::string& name, const at::Tensor& parameter) {
            const auto found = buffers_.find(parameter.unsafeGetTensorImpl());
            if (found != buffers_.end()) archive.write(name, found->second, /*is_buffer=*/true);
        });
    }
    void load(torch::serialize::InputArchive& archive) override {
        buffers_.clear();
        each_parameter([&](const std::string& name, const at::Tensor& parameter) {
            at::Tensor momentum;
            if (!archive.try_read(name, momentum, /*is_buffer=*/true)) return;
            if (momentum.sizes() != parameter.sizes()) {
                throw CheckpointError(detail::text("Sgd: expected ", name, " of the parameter's shape ",
                                                   detail::shape_text(parameter), ", found ",
                                                   detail::shape_text(momentum)));
            }
            buffers_[parameter.unsafeGetTensorImpl()] =
                momentum.to(parameter.device(), parameter.scalar_type());
        });
    }
    /// Stores or sets the momenta.
    void checkpoint(Archive& archive) {
        each_parameter([&](const std::string& name, const at::Tensor& parameter) {
            archive_momentum(archive, name, parameter);
        });
    }

  private:
    /// Every parameter, with the name of its momentum in files.
    template <class Function>
    void each_parameter(Function&& function) const {
        std::size_t position = 0;
        for (const torch::optim::OptimizerParamGroup& group : param_groups_) {
            for (const at::Tensor& parameter : group.params()) {
                function(detail::text("momentum", position++), parameter);
            }
        }
    }
    void archive_momentum(Archive& archive, const std::string& name, const at::Tensor& parameter) {
        const auto found = buffers_.find(parameter.unsafeGetTensorImpl());
        at::Tensor momentum = found != buffers_.end() ? found->second : at::Tensor();
        bool any = momentum.defined();
        archive.now(detail::text(name, "_any"), any);
        if (!any) {
            if (archive.loading()) buffers_.erase(parameter.unsafeGetTensorImpl());
            return;
        }
        if (!momentum.defined()) momentum = at::empty_like(parameter);
        archive(name, momentum);
        if (archive.loading()) buffers_[parameter.unsafeGetTensorImpl()] = momentum;
    }
    void step_group(const std::vector<at::Tensor>& all, const MultiTensorSgdOptions& options) {
        parameters_.clear();
        gradients_.clear();
        for (const at::Tensor& parameter : all) {
            const at::Tensor& gradient = parameter.grad();
            if (!gradient.defined()) continue;
            if (parameter.is_cpu()) {
                step_one(parameter, gradient, options);
                continue;
            }
            parameters_.push_back(parameter);
            gradients_.push_back(gradient);
        }
        if (parameters_.empty()) return;
        std::vector<at::Tensor> update = options.weight_decay != 0
                                             ? at::_foreach_add(gradients_, parameters_, options.weight_decay)
                                             : gradients_;
        if (options.momentum != 0) {
            momenta_.clear();
            std::vector<at::Tensor> old_momenta;
            std::vector<at::Tensor> old_update;
            for (std::size_t i = 0; i < parameters_.size(); ++i) {
                auto [slot, fresh] = buffers_.try_emplace(parameters_[i].unsafeGetTensorImpl());
                if (fresh) {
                    slot->second = update[i].clone();  // the first momentum is the first update, undampened
                } else {
                    old_momenta.push_back(slot->second);
                    old_update.push_back(update[i]);
                }
                momenta_.push_back(slot->second);
            }
            if (!old_momenta.empty()) {
                at::_foreach_mul_(old_momenta, options.momentum);
                at::_foreach_add_(old_momenta, old_update, 1.0 - options.dampening);
            }
            update = options.nesterov ? at::_foreach_add(update, momenta_, options.momentum) : momenta_;
        }
        at::_foreach_add_(parameters_, update, -options.learning_rate);
    }

    void step_one(const at::Tensor& parameter, const at::Tensor& gradient,
                  const MultiTensorSgdOptions& options) {
        at::Tensor update =
            options.weight_decay != 0 ? at::add(gradient, parameter, options.weight_decay) : gradient;
        if (options.momentum != 0) {
            auto [slot, fresh] = buffers_.try_emplace(parameter.unsafeGetTensorImpl());
            at::Tensor& momentum = slot->second;
            if (fresh) {
                momentum = update.clone();
            } else {
                momentum.mul_(options.momentum).add_(update, 1.0 - options.dampening);
            }
            update = options.nesterov ? at::add(update, momentum, options.momentum) : momentum;
        }
        parameter.add_(update, -options.learning_rate);
    }

    std::unordered_map<const void*, at::Tensor> buffers_;  // momentum by parameter
    // Lists that every step fills anew; kept to spare the allocations.
    std::vector<at::Tensor> parameters_;
    std::vector<at::Tensor> gradients_;
    std::vector<at::Tensor> momenta_;
};

/// Stochastic gradient descent with momentum.
///
/// Formula: \f$ g \leftarrow g + \lambda\theta;\; v \leftarrow \mu v + (1 - d) g;\; \theta \leftarrow \theta
/// - \eta v \f$ (with Nesterov's momentum \f$ \theta - \eta (g + \mu v) \f$); the first v is g. Source:
/// Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning",
/// ICML 2013, in the form of `torch::optim::SGD`.
struct Sgd {
    double learning_rate = 0.1;  ///< \f$ \eta \f$, at least 0
    double momentum = 0.0;       ///< \f$ \mu \f$, at least 0
    double dampening = 0.0;      ///< d; 0 with Nesterov's momentum
    double weight_decay = 0.0;   ///< \f$ \lambda \f$, at least 0
    bool nesterov = false;       ///< needs a momentum above 0

    std::unique_ptr<MultiTensorSgd> build(std::vector<at::Tensor> parameters) const {
        check();
        MultiTensorSgdOptions options;
        options.learning_rate = learning_rate;
        options.momentum = momentum;
        options.dampening = dampening;
        options.weight_decay = weight_decay;
        options.nesterov = nesterov;
        return std::make_unique<MultiTensorSgd>(std::move(parameters), options);
    }
    /// \throws ConfigError if the options make no sense.
    void check() const {
        const auto not_negative = [](const char* what, double value) {
            if (!(value >= 0 && std::isfinite(value))) {
                throw ConfigError(detail::text("Sgd: expected a ", what, " of at least 0, found ", value));
            }
        };
        not_negative("learning rate", learning_rate);
        not_negative("momentum", momentum);
        not_negative("weight decay", weight_decay);
        if (!std::isfinite(dampening)) {
            throw ConfigError(detail::text("Sgd: expected a finite dampening, found ", dampening));
        }
        if (nesterov && (momentum == 0 || dampening != 0)) {
            throw ConfigError(detail::text(
                "Sgd: Nesterov's momentum needs a momentum above 0 and no dampening, found momentum ",
                momentum, " and dampening ", dampening));
        }
    }
};

}  // namespace retort
