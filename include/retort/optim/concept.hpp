// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of an optimiser recipe: what a trainer builds its optimiser from.
///
/// | expression | meaning |
/// |---|---|
/// | `r.build(parameters)` | required; a `std::unique_ptr` to a `torch::optim::Optimizer` (or a class derived from it) |
/// | `r.check()` | optional; throws ConfigError where the options make no sense |
///
/// A trainer also takes an optimiser that exists already. See `OptimizerPolicy`. What an optimiser remembers goes into
/// checkpoints by its member `checkpoint(retort::Archive&)`, or by `save` and `load` of `torch::optim::Optimizer`.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/optim/optimizer.h>

#include <concepts>
#include <memory>
#include <vector>

namespace retort {

/// Builds an optimiser for parameters.
template <class R>
concept OptimizerRecipe = requires(const R& recipe, std::vector<at::Tensor> parameters) {
    { recipe.build(parameters) } -> std::convertible_to<std::unique_ptr<torch::optim::Optimizer>>;
};

}  // namespace retort
