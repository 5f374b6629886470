// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a trainer takes as its optimiser.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>
#include <retort/optim/concept.hpp>
#include <retort/optim/fresh_each_epoch.hpp>
#include <retort/optim/sgd.hpp>
#include <retort/optim/with_learning_rate.hpp>

namespace retort {

/// What a trainer takes as its optimiser: a recipe (`Sgd`, `FromTorch<...>`, either within
/// `FreshEachEpoch` and `WithLearningRate`), or an optimiser that exists already, as an lvalue that outlives the trainer, or as a
/// `shared_ptr`. An existing one gets the learnable parts of the knowledge as one more parameter group, with
/// its default options.
///
/// It is the same for all types: one virtual call a step is what LibTorch's optimisers cost anyway.
class OptimizerPolicy {
  public:
    template <OptimizerRecipe Recipe>
    explicit(false) OptimizerPolicy(Recipe recipe) {
        if constexpr (requires { recipe.check(); }) recipe.check();
        fresh_each_epoch_ = detail::fresh_each_epoch<Recipe>();
        if constexpr (requires { recipe.schedule.weight(Progress{}); }) {
            rate_ = [schedule = recipe.schedule](const Progress& progress) {
                return schedule.weight(progress);
            };
        }
        build_ = [recipe = std::move(recipe)](std::vector<at::Tensor> student,
                                              std::vector<at::Tensor> parts) {
            student.insert(student.end(), parts.begin(), parts.end());
            return std::shared_ptr<torch::optim::Optimizer>(recipe.build(std::move(student)));
        };
    }
    explicit(false) OptimizerPolicy(std::shared_ptr<torch::optim::Optimizer> optimizer) {
        if (optimizer == nullptr) throw ConfigError("optimiser: expected an optimiser, found a null pointer");
        build_ = [optimizer = std::move(optimizer)](const std::vector<at::Tensor>& student,
                                                    const std::vector<at::Tensor>& parts) {
            adopt(*optimizer, student, parts);
            return optimizer;
        };
    }
    template <std::derived_from<torch::optim::Optimizer> O>
    explicit(false) OptimizerPolicy(std::shared_ptr<O> optimizer)
        : OptimizerPolicy(std::static_pointer_cast<torch::optim::Optimizer>(std::move(optimizer))) {}
    template <std::derived_from<torch::optim::Optimizer> O>
        requires(!std::is_const_v<O>)
    explicit(false) OptimizerPolicy(O& optimizer)
        : OptimizerPolicy(
              std::shared_ptr<torch::optim::Optimizer>(&optimizer, [](torch::optim::Optimizer*) {})) {}

    /// Builds the optimiser for the student's parameters and those of the learnable parts.
    void build(const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& parts) {
        optimizer_ = build_(student, parts);
        for (const torch::optim::OptimizerParamGroup& group : optimizer_->param_groups()) {
            rates_.push_back(group.options().get_lr());
        }
    }
    /// Gives the optimiser the learnable parts that it does not have yet, as one more parameter group.
    /// \pre built()
    void add(const std::vector<at::Tensor>& parts) {
        add_missing(*optimizer_, parts);
        for (std::size_t i = rates_.size(); i < optimizer_->param_groups().size(); ++i) {
            rates_.push_back(optimizer_->param_groups()[i].options().get_lr());
        }
    }
    bool built() const { return optimizer_ != nullptr; }
    /// The optimiser.
    /// \pre built()
    torch::optim::Optimizer& optimizer() const { return *optimizer_; }

    /// Sets the learning rates for this progress, where they follow a schedule. Before that, builds the
    /// optimiser anew at the start of an epoch where the recipe says so (`FreshEachEpoch`).
    void set_learning_rate(const Progress& progress) {
        begin_anew(progress);
        if (!rate_) return;
        const double factor = rate_(progress);
        if (!(factor >= 0 && std::isfinite(factor))) {
            throw ConfigError(
                detail::text("learning rate: expected the schedule to give a factor of at least 0, found ",
                             factor, " in epoch ", progress.epoch, ", step ", progress.step));
        }
        std::size_t group = 0;
        for (torch::optim::OptimizerParamGroup& each : optimizer_->param_groups()) {
            if (group < rates_.size()) each.options().set_lr(rates_[group++] * factor);
        }
    }
    /// The learning rate of the first parameter group.
    /// \pre built()
    double learning_rate() const { return optimizer_->param_groups().front().options().get_lr(); }

  private:
    static bool holds(torch::optim::Optimizer& optimizer, const at::Tensor& parameter) {
        for (const torch::optim::OptimizerParamGroup& group : optimizer.param_groups()) {
            for (const at::Tensor& each : group.params()) {
                if (each.is_same(parameter)) return true;
            }
        }
        return false;
    }
    void begin_anew(const Progress& progress) {
        if (!fresh_each_epoch_ || epoch_ == progress.epoch) return;
        // In the middle of an epoch that nobody has seen begin, the state is that of a checkpoint, and stays.
        if (epoch_ >= 0 || progress.step == 0) {
            std::vector<at::Tensor> parameters;
            for (const torch::optim::OptimizerParamGroup& group : optimizer_->param_groups()) {
                parameters.insert(parameters.end(), group.params().begin(), group.params().end());
            }
            rates_.clear();
            build(parameters, {});
        }
        epoch_ = progress.epoch;
    }
    static void adopt(torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& student,
                      const std::vector<at::Tensor>& parts) {
        bool any = false;
        for (const at::Tensor& parameter : student) any = any || holds(optimizer, parameter);
        if (!any) {
            throw ConfigError(
                "optimiser: expected one that was built on the student's parameters, found none of them in "
                "it");
        }
        add_missing(optimizer, parts);
    }
    static void add_missing(torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& parts) {
        std::vector<at::Tensor> missing;
        for (const at::Tensor& parameter : parts) {
            if (!holds(optimizer, parameter)) missing.push_back(parameter);
        }
        if (!missing.empty())
            optimizer.add_param_group(torch::optim::OptimizerParamGroup(std::move(missing)));
    }

    std::function<std::shared_ptr<torch::optim::Optimizer>(std::vector<at::Tensor>, std::vector<at::Tensor>)>
        build_;
    std::function<double(const Progress&)> rate_;
    std::shared_ptr<torch::optim::Optimizer> optimizer_;
    std::vector<double> rates_;  // of the groups, before any schedule
    bool fresh_each_epoch_ = false;
    std::int64_t epoch_ = -1;  // in which it was last used, where it is to be fresh
};

}  // namespace retort
