// SPDX-License-Identifier: BSL-1.0
/// \file
/// Base of the library's optimizers: their state per parameter, and how it is stored.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::detail {

/// State of one parameter.
template <std::size_t slots>
struct ParameterState {
    const void* parameter = nullptr;
    bool repeated = false;               ///< an earlier one is the same parameter
    std::int64_t steps = 0;              ///< number of updates
    std::array<at::Tensor, slots> of{};  ///< undefined before the first step

    /// Creates a slot as zeros with the parameter's type and memory layout; converts an existing one to these.
    void need(std::size_t slot, const at::Tensor& like) {
        at::Tensor& tensor = of[slot];
        if (!tensor.defined()) {
            tensor = at::zeros_like(like);
        } else if (tensor.scalar_type() != like.scalar_type() || tensor.device() != like.device() ||
                   tensor.strides() != like.strides()) {
            tensor = at::empty_like(like).copy_(tensor);
        }
    }
};

/// A parameter that a step updates.
template <std::size_t slots>
struct Moved {
    const at::Tensor* parameter;
    const at::Tensor* gradient;
    ParameterState<slots>* state;
};

/// Options of a parameter group: those of the recipe.
template <class Recipe>
struct GroupOptions : torch::optim::OptimizerCloneableOptions<GroupOptions<Recipe>>, Recipe {
    GroupOptions() = default;
    explicit GroupOptions(const Recipe& recipe) : Recipe(recipe) {}

    double get_lr() const override { return this->learning_rate; }
    void set_lr(const double value) override { this->learning_rate = value; }
};

/// Base of the optimizers of this library. `Recipe` is an aggregate of options, with a `learning_rate` and `check()`. A
/// derived class has
///
/// - `static constexpr const char* name`, for errors, and `bool counts_steps`: whether it uses
/// `ParameterState::steps`;
/// - `static constexpr std::array<const char*, slots> slot_names`, for files;
/// - `static bool takes_sparse(options)`: whether `step_operators` takes sparse gradients;
/// - `void step_dense<T>(moved, options)`: updates parameters of type T on the CPU, in dense memory, gradients in the
/// same layout. May leave work for `finish_dense()`, which is called at the end of the step.
/// - `void step_operators(moved, options)`: updates the others.
///
/// A parameter without a gradient is left as it is. One that occurs several times is updated once.
template <class Derived, class Recipe, std::size_t slots>
class FusedOptimizer : public torch::optim::Optimizer {
    using Group = torch::optim::OptimizerParamGroup;

  public:
    /// Options of a parameter group.
    using Options = GroupOptions<Recipe>;

    /// \throws ConfigError if an option is out of range
    FusedOptimizer(std::vector<at::Tensor> parameters, const Recipe& defaults)
        : FusedOptimizer(std::vector<Group>{Group(std::move(parameters))}, defaults) {}
    /// \param defaults options of the groups that have none
    FusedOptimizer(const std::vector<Group>& groups, const Recipe& defaults)
        : Optimizer(std::vector<Group>(), std::make_unique<Options>(defaults)) {
        defaults.check();
        for (const Group& group : groups) add_param_group(group);
    }

    /// Adds a group with its options, or with the defaults where it has none. (LibTorch 2.12 and later replace options of
    /// types other than their own by the defaults, so that this must not be called through the base.)
    /// \throws ConfigError if the options are of another optimizer, or out of range
    void add_param_group(const Group& group) {
        if (group.has_options()) {
            const auto* const options = dynamic_cast<const Options*>(&group.options());
            if (options == nullptr)
                throw ConfigError(concat(Derived::name, ": expected a group with options of ", Derived::name,
                                         ", found options of another optimizer"));
            options->check();
        }
        Optimizer::add_param_group(Group(group.params()));
        if (group.has_options()) param_groups_.back().set_options(group.options().clone());
    }

    using Optimizer::step;
    /// One step.
    /// \throws ConfigError if a gradient is sparse and the optimizer takes none
    at::Tensor step(LossClosure closure = nullptr) override {
        at::Tensor loss;
        if (closure != nullptr) {
            const at::AutoGradMode with_grad(true);
            loss = closure();
        }
        const at::NoGradGuard no_grad;
        arrange();
        try {
            gather();
        } catch (...) {
            finish();  // the rest of the step would be part of the next one
            throw;
        }
        finish();
        return loss;
    }

    /// The state, for `torch::save` and `torch::load`. Options are not stored.
    void save(torch::serialize::OutputArchive& archive) const override {
        const_cast<FusedOptimizer&>(*this).arrange();
        for (std::size_t i = 0; i < states_.size(); ++i) {
            for (std::size_t slot = 0; slot < slots; ++slot) {
                if (states_[i].of[slot].defined())
                    archive.write(concat(Derived::slot_names[slot], i), states_[i].of[slot],
                                  /*is_buffer=*/true);
            }
            if (Derived::counts_steps && states_[i].steps > 0)
                archive.write(concat("steps", i), at::tensor(states_[i].steps), /*is_buffer=*/true);
        }
    }
    /// \throws CheckpointError if a shape differs
    void load(torch::serialize::InputArchive& archive) override {
        arrange();
        std::vector<State> read = states_;
        each_parameter([&](std::size_t i, const at::Tensor& parameter) {
            read[i].of = {};
            read[i].steps = 0;
            for (std::size_t slot = 0; slot < slots; ++slot) {
                const std::string name = concat(Derived::slot_names[slot], i);
                at::Tensor stored;
                if (!archive.try_read(name, stored, /*is_buffer=*/true)) continue;
                if (stored.sizes() != parameter.sizes()) {
                    throw CheckpointError(concat(Derived::name, ": expected ", name,
                                                 " of the parameter's shape ", shape_text(parameter),
                                                 ", found ", shape_text(stored)));
                }
                read[i].of[slot] = stored;
                read[i].need(slot, parameter.detach());
            }
            at::Tensor steps;
            if (archive.try_read(concat("steps", i), steps, /*is_buffer=*/true))
                read[i].steps = steps.template item<std::int64_t>();
        });
        states_ = std::move(read);
    }
    /// Stores or sets the state.
    void checkpoint(Archive& archive) {
        arrange();
        each_parameter([&](std::size_t i, const at::Tensor& parameter) {
            State& state = states_[i];
            if (Derived::counts_steps) archive(concat("steps", i), state.steps);
            for (std::size_t slot = 0; slot < slots; ++slot) {
                const std::string name = concat(Derived::slot_names[slot], i);
                at::Tensor tensor = state.of[slot];
                bool any = tensor.defined();
                archive.now(concat(name, "_any"), any);
                if (any) {
                    if (!tensor.defined()) tensor = at::empty_like(parameter.detach());
                    archive(name, tensor);
                }
                if (archive.loading()) state.of[slot] = any ? tensor : at::Tensor();
            }
        });
    }

  protected:
    using State = ParameterState<slots>;
    using Moves = std::vector<Moved<slots>>;

  private:
    Derived& self() { return static_cast<Derived&>(*this); }

    template <class Function>
    void each_parameter(Function&& function) const {
        std::size_t position = 0;
        for (const Group& group : param_groups_) {
            for (const at::Tensor& parameter : group.params()) function(position++, parameter);
        }
    }
    /// Brings the states into the order of the parameters: groups may have been added or changed.
    void arrange() {
        bool fits = true;
        std::size_t count = 0;
        each_parameter([&](std::size_t i, const at::Tensor& parameter) {
            fits = fits && i < states_.size() && states_[i].parameter == parameter.unsafeGetTensorImpl();
            ++count;
        });
        if (fits && count == states_.size()) return;
        std::unordered_map<const void*, State> known;
        for (State& state : states_) {
            if (!state.repeated) known.emplace(state.parameter, std::move(state));
        }
        states_.assign(count, {});
        std::unordered_set<const void*> seen;
        each_parameter([&](std::size_t i, const at::Tensor& parameter) {
            const void* const key = parameter.unsafeGetTensorImpl();
            const bool repeated = !seen.insert(key).second;
            const auto found = known.find(key);
            if (!repeated && found != known.end()) states_[i] = std::move(found->second);
            states_[i].parameter = key;
            states_[i].repeated = repeated;
        });
    }
    /// Iterates over all parameters; updates those that are not dense, and leaves the dense ones to `finish`.
    void gather() {
        std::size_t position = 0;
        for (Group& group : param_groups_) {
            const Recipe& options = static_cast<const Options&>(group.options());
            dense_floats_.clear();
            dense_doubles_.clear();
            others_.clear();
            try {
                for (const at::Tensor& parameter : group.params()) {
                    State& state = states_[position++];
                    const at::Tensor& gradient = parameter.grad();
                    if (!gradient.defined() || state.repeated) continue;
                    sort(parameter, gradient, state, position - 1, options);
                    ++state.steps;
                }
            } catch (...) {  // none of the group is updated
                for (const auto* sorted : {&dense_floats_, &dense_doubles_, &others_}) {
                    for (const auto& each : *sorted) --each.state->steps;
                }
                throw;
            }
            if (!dense_floats_.empty()) self().template step_dense<float>(dense_floats_, options);
            if (!dense_doubles_.empty()) self().template step_dense<double>(dense_doubles_, options);
            if (!others_.empty()) self().step_operators(others_, options);
        }
    }
    void finish() {
        self().finish_dense();
        dense_floats_.clear();
        dense_doubles_.clear();
        others_.clear();
        copies_.clear();
    }
    /// Decides how a parameter is updated.
    void sort(const at::Tensor& parameter, const at::Tensor& gradient, State& state, std::size_t position,
              const Recipe& options) {
        if (gradient.layout() != at::kStrided && !Derived::takes_sparse(options)) {
            throw ConfigError(concat(Derived::name,
                                     ": expected dense gradients, found a sparse one for parameter ",
                                     position, " of shape ", shape_text(parameter)));
        }
        const at::ScalarType type = parameter.scalar_type();
        if (!parameter.is_cpu() || (type != at::kFloat && type != at::kDouble) ||
            gradient.layout() != at::kStrided || !parameter.is_non_overlapping_and_dense()) {
            others_.push_back({&parameter, &gradient, &state});
            return;
        }
        const bool alike = gradient.scalar_type() == type && gradient.is_cpu() &&
                           gradient.strides() == parameter.strides() && !gradient.is_neg();
        const at::Tensor& source =
            alike ? gradient : copies_.emplace_back(at::empty_like(parameter).copy_(gradient));
        (type == at::kFloat ? dense_floats_ : dense_doubles_).push_back({&parameter, &source, &state});
        // Graphs that saved the parameter must see that it has changed.
        parameter.unsafeGetTensorImpl()->bump_version();
    }

    std::vector<State> states_;  // in the order of the parameters
    // Refilled by every step; kept to save allocations.
    Moves dense_floats_, dense_doubles_, others_;
    std::deque<at::Tensor> copies_;  // of gradients in another layout; addresses stay valid
};

/// A list of tensors, one for each.
template <std::size_t slots, class Get>
std::vector<at::Tensor> list_of(const std::vector<Moved<slots>>& moved, Get&& get) {
    std::vector<at::Tensor> result;
    result.reserve(moved.size());
    for (const auto& each : moved) result.push_back(get(each));
    return result;
}

}  // namespace retort::detail
