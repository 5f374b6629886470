// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of an optimizer recipe: what a trainer builds its optimizer from.
///
/// | expression | meaning |
/// |---|---|
/// | `r.build(parameters)` | required; a `std::unique_ptr` to a `torch::optim::Optimizer` (or a class derived from it) |
/// | | or takes a `std::vector<retort::NamedParameter>`, where options depend on names |
/// | `r.check()` | optional; throws ConfigError if an option is out of range |
///
/// A trainer also takes an existing optimizer: see `OptimizerPolicy`. The state of an optimizer is stored in
/// checkpoints by its member `checkpoint(retort::Archive&)`, or by `save` and `load` of `torch::optim::Optimizer`.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/optim/optimizer.h>

#include <concepts>
#include <memory>
#include <vector>

#include <retort/core/network.hpp>

namespace retort {

/// Builds an optimizer for parameters with their names.
template <class R>
concept NamedOptimizerRecipe = requires(const R& recipe, std::vector<NamedParameter> parameters) {
    { recipe.build(parameters) } -> std::convertible_to<std::unique_ptr<torch::optim::Optimizer>>;
};

/// Builds an optimizer for parameters.
template <class R>
concept OptimizerRecipe =
    NamedOptimizerRecipe<R> || requires(const R& recipe, std::vector<at::Tensor> parameters) {
        { recipe.build(parameters) } -> std::convertible_to<std::unique_ptr<torch::optim::Optimizer>>;
    };

namespace detail {

/// Whether a recipe has a learning-rate schedule.
template <class Recipe>
constexpr bool has_schedule = requires(const Recipe& recipe) { recipe.schedule; };
/// Whether the inner recipe has a learning-rate schedule that the outer one does not expose.
template <class Recipe>
constexpr bool hides_schedule() {
    return !has_schedule<Recipe> && requires(const Recipe& recipe) { recipe.recipe.schedule; };
}

/// Builds the optimizer of a recipe of either kind.
template <OptimizerRecipe R>
auto build_optimizer(const R& recipe, const std::vector<NamedParameter>& parameters) {
    if constexpr (NamedOptimizerRecipe<R>) {
        return recipe.build(parameters);
    } else {
        return recipe.build(tensors_of(parameters));
    }
}

}  // namespace detail
}  // namespace retort
