// SPDX-License-Identifier: BSL-1.0
/// \file
/// An optimizer whose learning rate follows a schedule.
#pragma once

#include <utility>

#include <retort/checkpoint/archive.hpp>
#include <retort/detail/check.hpp>
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
///                              retort::WarmUp{retort::Cosine{.every = retort::Every::step}, {.epochs = 5}}}
template <OptimizerRecipe Recipe, WeightSchedule S>
struct WithLearningRate {
    static_assert(
        !detail::has_schedule<Recipe>,
        "retort: an optimizer has one learning-rate schedule: for a product of two, derive a schedule from "
        "retort::ScheduleAdaptor");
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
        detail::check_policy(recipe);
        detail::check_policy(schedule);
    }
    /// Stores or sets the state of the schedule, and of the recipe.
    void checkpoint(Archive& archive) {
        detail::archive_policy(archive, "recipe", recipe);
        detail::archive_policy(archive, "schedule", schedule);
    }
};

template <class Recipe, class S>
WithLearningRate(Recipe, S) -> WithLearningRate<Recipe, S>;

}  // namespace retort
