// SPDX-License-Identifier: BSL-1.0
/// \file
/// An optimizer that is rebuilt at the start of every epoch.
#pragma once

#include <ATen/core/Tensor.h>

#include <type_traits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/detail/check.hpp>
#include <retort/optim/concept.hpp>

namespace retort {

namespace detail {

template <class Recipe>
constexpr bool rebuilt_each_epoch() {
    if constexpr (requires { Recipe::rebuilt_each_epoch; }) {
        return Recipe::rebuilt_each_epoch;
    } else {
        return false;
    }
}

}  // namespace detail

/// An optimizer that is rebuilt at the start of every epoch: momenta, moments and their bias correction start over.
/// The released code of information flow modeling trains the student this way (Passalis, Tzelepi, Tefas, CVPR 2020: it
/// calls its training function once per epoch).
///
///     retort::RebuiltEachEpoch{retort::FromTorch<torch::optim::Adam>{torch::optim::AdamOptions(1e-3)}}
///
/// A learning-rate schedule must be outermost: `WithLearningRate{RebuiltEachEpoch{...}, Cosine{}}`. Pointers to the
/// optimizer are valid for one epoch.
template <OptimizerRecipe Recipe>
struct RebuiltEachEpoch {
    static constexpr bool rebuilt_each_epoch = true;
    static_assert(
        !detail::has_schedule<Recipe>,
        "retort: a learning-rate schedule must be outermost: WithLearningRate{RebuiltEachEpoch{...}, ...}");
    Recipe recipe;

    auto build(const std::vector<NamedParameter>& parameters) const {
        return detail::build_optimizer(recipe, parameters);
    }
    auto build(std::vector<at::Tensor> parameters) const
        requires(!NamedOptimizerRecipe<Recipe>)
    {
        return recipe.build(std::move(parameters));
    }
    void check() const { detail::check_policy(recipe); }
    /// Stores or sets the state of the recipe.
    void checkpoint(Archive& archive) { detail::archive_policy(archive, "recipe", recipe); }
};

template <class Recipe>
RebuiltEachEpoch(Recipe) -> RebuiltEachEpoch<Recipe>;

}  // namespace retort
