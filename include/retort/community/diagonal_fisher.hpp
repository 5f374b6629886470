// SPDX-License-Identifier: BSL-1.0
/// \file
/// The diagonal of the Fisher information of a network's parameters.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/multinomial.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/data/detail/random.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// Options of `diagonal_fisher`. Released codes differ in all of them, by factors and not by rounding; the defaults are of this
/// library.
struct FisherOptions {
    /// Which labels the gradients of the log-likelihood are taken for.
    enum class Labels {
        expected,  ///< all, weighted by their probability: the Fisher information itself (one backward pass per class)
        given,      ///< the targets: the "empirical Fisher" (Avalanche)
        predicted,  ///< the most probable (FACIL's default)
        drawn,      ///< one, drawn from the predicted distribution
    };
    Labels labels = Labels::expected;
    /// How many samples one gradient is taken of. Above 1, the gradient of the mean of a batch is squared (Avalanche, FACIL):
    /// about 1 / batch of the squares of single samples.
    std::int64_t batch = 1;
    std::int64_t samples = 256;  ///< of more samples only the first are used; 0: all
    std::uint64_t seed = 0;      ///< of `Labels::drawn`

    void check() const {
        using namespace ::retort::detail;
        check_range("diagonal_fisher", "a batch", batch, at_least(1));
        check_range("diagonal_fisher", "a number of samples", samples, at_least(0));
    }
};

/// The diagonal of the Fisher information, for each parameter: the mean over batches of the squared gradient of their mean
/// log-likelihood. The networks' mode is the caller's matter: `EvalMode`, usually.
/// \param logits called with some samples' inputs; returns their logits, [batch, classes], with a graph
/// \param input [samples, ...]
/// \param target [samples], int64; only of `Labels::given`
/// \throws ConfigError, ShapeError; DataError if an entry is not finite
/// Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017.
template <std::invocable<const at::Tensor&> Logits>
std::vector<at::Tensor> diagonal_fisher(const std::vector<at::Tensor>& parameters, Logits&& logits,
                                        const at::Tensor& input, const at::Tensor& target = {},
                                        const FisherOptions& options = {}) {
    using Labels = FisherOptions::Labels;
    options.check();
    if (!input.defined() || input.dim() < 1 || input.size(0) < 1)
        throw ShapeError("diagonal_fisher: expected at least one sample, found none");
    if (options.labels == Labels::given &&
        (!target.defined() || target.dim() != 1 || target.size(0) != input.size(0) ||
         target.scalar_type() != at::kLong)) {
        throw ShapeError(::retort::detail::concat(
            "diagonal_fisher: expected ", input.size(0), " targets of type int64 (Labels::given), found ",
            target.defined() ? ::retort::detail::shape_text(target) : std::string("none")));
    }
    const std::int64_t count =
        options.samples == 0 ? input.size(0) : std::min(options.samples, input.size(0));
    at::Generator generator = data::detail::make_generator({options.seed}, data::detail::Stream::batch);
    const at::AutoGradMode with_gradient(true);
    std::vector<at::Tensor> sum;
    for (const at::Tensor& each : parameters) sum.push_back(at::zeros_like(each));
    std::int64_t batches = 0;
    for (std::int64_t begin = 0; begin < count; begin += options.batch, ++batches) {
        const std::int64_t rows = std::min(options.batch, count - begin);
        const at::Tensor output = logits(input.narrow(0, begin, rows));
        ::retort::detail::check_logits("diagonal_fisher", "logits", output);
        const at::Tensor log_p = at::log_softmax(output, 1);
        const at::Tensor p = log_p.detach().exp();
        const auto add = [&](const at::Tensor& likelihood, double weight, bool keep) {
            const std::vector<at::Tensor> gradients = torch::autograd::grad(
                {likelihood}, parameters, {}, keep, /*create_graph=*/false, /*allow_unused=*/true);
            const at::NoGradGuard no_grad;
            for (std::size_t i = 0; i < sum.size(); ++i) {
                if (gradients[i].defined()) sum[i].add_(gradients[i].square(), weight);
            }
        };
        if (options.labels == Labels::expected) {
            if (rows != 1) {
                throw ConfigError(::retort::detail::concat(
                    "diagonal_fisher: expected a batch of 1 with Labels::expected, found ", options.batch));
            }
            const std::int64_t classes = log_p.size(1);
            for (std::int64_t c = 0; c < classes; ++c)
                add(log_p[0][c], p[0][c].template item<double>(), c + 1 < classes);
            continue;
        }
        const at::Tensor labels =
            options.labels == Labels::given ? target.narrow(0, begin, rows).to(p.device())
            : options.labels == Labels::predicted
                ? p.argmax(1)
                : at::multinomial(p.cpu(), 1, false, generator).squeeze(1).to(p.device());
        add(log_p.gather(1, labels.unsqueeze(1)).mean(), 1, false);
    }
    const at::NoGradGuard no_grad;
    for (at::Tensor& each : sum) {
        each.div_(static_cast<double>(batches));
        if (!each.isfinite().all().template item<bool>())
            throw DataError("diagonal_fisher: expected finite gradients, found others");
    }
    return sum;
}

}  // namespace retort::community
