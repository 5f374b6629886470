// SPDX-License-Identifier: BSL-1.0
/// \file
/// Optimizer options by names and shapes of parameters.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/optim/optimizer.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/name_pattern.hpp>
#include <retort/optim/concept.hpp>

namespace retort {

/// Options that differ for some parameters: see `ParameterGroups`.
struct GroupRule {
    /// Which parameters, by name: `*` matches any characters, dots too, `?` matches one. Names are the student's
    /// (`stages.0.weight`); those of learnable parts begin with `knowledge.`, those of a `PartiallyTrainable` teacher with `teacher.`.
    std::string names = "*";
    std::int64_t below_dimensions = 0;      ///< only those of fewer dimensions than this; 0: any
    std::optional<double> learning_rate{};  ///< times the recipe's; at least 0
    std::optional<double> weight_decay{};   ///< in place of the recipe's; at least 0
    std::optional<bool> frozen{};           ///< not trained, and no gradient computed
};

/// No weight decay on parameters of fewer than two dimensions: biases and those of normalization layers.
inline GroupRule no_decay_on_vectors() { return {.below_dimensions = 2, .weight_decay = 0.0}; }

/// An optimizer (`Sgd`, `AdamW`, `Lars`) with different options for some parameters:
///
///     retort::ParameterGroups{retort::AdamW{.learning_rate = 1e-3, .weight_decay = 0.05},
///                             {retort::no_decay_on_vectors(),
///                              {.names = "stem.*", .learning_rate = 0.1},
///                              {.names = "stem.norm.*", .frozen = true}}}
///
/// All rules that match a parameter apply; where they conflict, the last one wins. A rule that matches no parameter
/// is an error. Frozen parameters get `requires_grad` false at the first step. A learning-rate schedule must be the
/// outermost recipe; it scales the rate of every group. Learnable parts that are added later, with another graph of a
/// cohort, have the recipe's options.
template <class Recipe>
struct ParameterGroups {
    static_assert(
        requires(const Recipe& recipe) {
            recipe.learning_rate;
            recipe.weight_decay;
            typename decltype(recipe.build(std::vector<at::Tensor>()))::element_type::Options;
        },
        "retort: ParameterGroups is for retort::Sgd, AdamW and Lars: a learning-rate schedule and "
        "RebuiltEachEpoch go around it, and LibTorch's own optimizers take groups themselves");
    Recipe recipe;
    std::vector<GroupRule> rules;

    ParameterGroups(Recipe of, std::vector<GroupRule> with) : recipe(std::move(of)), rules(std::move(with)) {}

    /// \throws ConfigError if a rule matches no parameter, or all parameters are frozen
    auto build(const std::vector<NamedParameter>& parameters) const {
        using Optimizer = typename decltype(recipe.build(std::vector<at::Tensor>()))::element_type;
        struct Group {
            double rate;
            double decay;
            std::vector<at::Tensor> parameters;
        };
        // Parameters without a rule come first: theirs is the learning rate in histories.
        std::vector<Group> groups{{1.0, recipe.weight_decay, {}}};
        std::vector<bool> met(rules.size(), false);
        std::vector<at::Tensor> frozen;
        for (const NamedParameter& each : parameters) {
            double rate = 1.0, decay = recipe.weight_decay;
            bool stays = false;
            for (std::size_t i = 0; i < rules.size(); ++i) {
                const GroupRule& rule = rules[i];
                if (!detail::matches(rule.names, each.name) ||
                    (rule.below_dimensions > 0 && each.tensor.dim() >= rule.below_dimensions))
                    continue;
                met[i] = true;
                rate = rule.learning_rate.value_or(rate);
                decay = rule.weight_decay.value_or(decay);
                stays = rule.frozen.value_or(stays);
            }
            if (stays) {
                frozen.push_back(each.tensor);
                continue;
            }
            auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& other) {
                return other.rate == rate && other.decay == decay;
            });
            if (group == groups.end()) group = groups.insert(group, {rate, decay, {}});
            group->parameters.push_back(each.tensor);
        }
        for (std::size_t i = 0; i < rules.size(); ++i) {
            if (met[i]) continue;
            throw ConfigError(detail::concat(
                "ParameterGroups: expected parameters named \"", rules[i].names, "\"",
                rules[i].below_dimensions > 0
                    ? detail::concat(" of fewer than ", rules[i].below_dimensions, " dimensions")
                    : std::string(),
                ", found none", detail::did_you_mean(rules[i].names, parameters)));
        }
        std::vector<torch::optim::OptimizerParamGroup> result;
        for (Group& group : groups) {
            if (group.parameters.empty()) continue;
            auto options = std::make_unique<typename Optimizer::Options>(recipe);
            options->learning_rate *= group.rate;
            options->weight_decay = group.decay;
            result.emplace_back(std::move(group.parameters), std::move(options));
        }
        if (result.empty())
            throw ConfigError("ParameterGroups: expected parameters to train, found all of them frozen");
        for (at::Tensor& each : frozen) each.requires_grad_(false);
        return std::make_unique<Optimizer>(result, recipe);
    }
    /// \throws ConfigError if an option is out of its range
    void check() const {
        recipe.check();
        if (rules.empty()) throw ConfigError("ParameterGroups: expected rules, found none");
        for (const GroupRule& rule : rules) {
            const auto fine = [](const std::optional<double>& value) {
                return !value || (*value >= 0 && std::isfinite(*value));
            };
            if (!fine(rule.learning_rate) || !fine(rule.weight_decay) || rule.below_dimensions < 0) {
                throw ConfigError(detail::concat(
                    "ParameterGroups: expected numbers of at least 0 for \"", rule.names,
                    "\", found a learning rate of ", rule.learning_rate.value_or(1.0), ", a weight decay of ",
                    rule.weight_decay.value_or(0.0), " and ", rule.below_dimensions, " dimensions"));
            }
            if (!rule.learning_rate && !rule.weight_decay && !rule.frozen) {
                throw ConfigError(detail::concat("ParameterGroups: expected \"", rule.names,
                                                 "\" to have another learning rate or weight decay, or to be "
                                                 "frozen; found neither"));
            }
        }
    }
};

template <class Recipe>
ParameterGroups(Recipe, std::vector<GroupRule>) -> ParameterGroups<Recipe>;

}  // namespace retort
