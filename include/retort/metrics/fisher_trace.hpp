// SPDX-License-Identifier: BSL-1.0
/// \file
/// The trace of the Fisher information: how sensitive a network's predictions are to its parameters.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/multinomial.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <type_traits>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>

namespace retort::metrics {

/// Options of `fisher_trace`.
struct FisherTraceOptions {
    std::int64_t repetitions = 1;  ///< draws of the classes to average over; at least 1
    std::uint64_t seed = 0;        ///< of the draws; the global generators are not touched
};

/// Estimates the trace of the Fisher information of a classifier's trainable parameters, \f$ \mathrm{tr} F = E_x E_{y
/// \sim p(y|x)} \|\nabla_\theta \log p(y|x)\|^2 \f$, over some inputs.
///
/// One backward pass per repetition: for classes y_i drawn from the network itself, the samples' gradients are
/// independent with mean 0, so that the mean of \f$ \|\nabla \sum_i \log p(y_i|x_i)\|^2 / B \f$ is the trace over the
/// batch. The network runs in evaluation mode, where samples do not interact; its state, including `.grad`, is left
/// unchanged. Waits for the device.
///
/// Source: Achille, Rovere, Soatto, "Critical Learning Periods in Deep Networks", ICLR 2019.
/// \param network one whose outputs have logits [batch, classes]
/// \throws ConfigError if `repetitions` is below 1 or nothing is trainable; ShapeError if the logits are not [batch, classes];
/// NonFiniteError if they are not finite
template <class N, class Input>
    requires Network<std::remove_cvref_t<N>>
double fisher_trace(N&& network, const Input& input, const FisherTraceOptions& options = {}) {
    using ::retort::detail::concat;
    if (options.repetitions < 1) {
        throw ConfigError(
            concat("fisher_trace: expected at least 1 repetition, found ", options.repetitions));
    }
    const NetworkRef<std::remove_cvref_t<N>> own(network);
    const auto parameters = ::retort::detail::trainable_parameters(own.module());
    if (parameters.empty()) {
        throw ConfigError("fisher_trace: expected a network with trainable parameters, found none");
    }
    const at::AutoGradMode with_gradient(true);
    const ::retort::EvalMode eval(own.module());
    at::Tensor logits = ::retort::logits(own->forward(input));
    ::retort::detail::check_logits("fisher_trace", "the logits", logits);
    if (logits.scalar_type() != at::kDouble) logits = logits.to(at::kFloat);
    ::retort::detail::check_finite_values("fisher_trace", "the logits", logits);
    const at::Tensor chances = logits.detach().softmax(1).to(at::kCPU);
    at::Generator generator = at::detail::createCPUGenerator(options.seed);
    double sum = 0;
    for (std::int64_t i = 0; i < options.repetitions; ++i) {
        const at::Tensor classes =
            at::multinomial(chances, 1, false, generator).squeeze(1).to(logits.device());
        const at::Tensor loss = at::cross_entropy_loss(logits, classes, {}, at::Reduction::Sum);
        const auto gradients = torch::autograd::grad({loss}, parameters, {}, /*retain_graph=*/true,
                                                     /*create_graph=*/false, /*allow_unused=*/true);
        for (const at::Tensor& gradient : gradients) {
            if (gradient.defined()) sum += gradient.square().sum().template item<double>();
        }
    }
    return sum / static_cast<double>(options.repetitions * logits.size(0));
}

}  // namespace retort::metrics
