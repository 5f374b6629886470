// SPDX-License-Identifier: BSL-1.0
/// \file
/// An optimizer whose learning rate follows a schedule.
#pragma once

#include <utility>

#include <retort/optim/concept.hpp>
#include <retort/optim/rebuilt_each_epoch.hpp>
#include <retort/schedule/concept.hpp>

namespace retort {

/// An optimizer whose learning rate follows a schedule: at every step the rate of each parameter group is its initial
/// rate times the schedule's weight.
///
///     retort::WithLearningRate{retort::Sgd{.learning_rate = 0.05, .momentum = 0.9},
///                              retort::MultiStep{.milestones = {150, 180, 210}}}
///     retort::WithLearningRate{retort::Sgd{.learning_rate = 0.1},
///                              retort::WarmUp{.epochs = 5, .then = retort::Cosine{.every = retort::Every::step}}}
template <OptimizerRecipe Recipe, WeightSchedule S>
struct WithLearningRate {
    static constexpr bool rebuilt_each_epoch = detail::rebuilt_each_epoch<Recipe>();
    Recipe recipe;
    S schedule;

    auto build(const std::vector<NamedParameter>& parameters) const {
        return detail::build_optimizer(recipe, parameters);
    }
    auto build(std::vector<at::Tensor> parameters) const
        requires(!NamedOptimizerRecipe<Recipe>)
    {
        return recipe.build(std::move(parameters));
    }
    void check() const {
        if constexpr (requires { recipe.check(); }) recipe.check();
        detail::check_schedule(schedule);
    }
};

template <class Recipe, class S>
WithLearningRate(Recipe, S) -> WithLearningRate<Recipe, S>;

}  // namespace retort
