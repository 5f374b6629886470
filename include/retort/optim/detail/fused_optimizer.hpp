// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the optimizers of this library share: what they remember of each parameter, and how it is stored.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>

#include <array>
#include <cmath>
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

/// What an optimizer remembers of one parameter.
template <std::size_t slots>
struct ParameterState {
    const void* parameter = nullptr;
    bool repeated = false;               ///< an earlier one is the same parameter
    std::int64_t steps = 0;              ///< how often it was moved
    std::array<at::Tensor, slots> of{};  ///< undefined before the first step

    /// Makes a tensor that is not there yet: zeros, with the parameter's type and order in memory; brings one that is
    /// there to these.
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

/// A parameter that a step moves.
template <std::size_t slots>
struct Moved {
    const at::Tensor* parameter;
    const at::Tensor* gradient;
    ParameterState<slots>* state;
};

/// Base of the optimizers of this library. A derived class has
///
/// - `static constexpr const char* name`, for errors, and `bool counts_steps`: whether it looks at
///   `ParameterState::steps`;
/// - `static constexpr std::array<const char*, slots> slot_names`, for files;
/// - `static bool takes_sparse(options)`: whether `step_operators` takes sparse gradients;
/// - `void step_dense<T>(moved, options)`: moves parameters on the processor, of type T, all in dense memory, gradients
///   in the same order. May leave work for `finish_dense()`, which is called at the end of the step.
/// - `void step_operators(moved, options)`: moves others.
///
/// A parameter without a gradient stays as it is. One that occurs several times is moved once.
template <class Derived, class Options, std::size_t slots>
class FusedOptimizer : public torch::optim::Optimizer {
  public:
    FusedOptimizer(std::vector<torch::optim::OptimizerParamGroup> groups, const Options& defaults)
        : Optimizer(std::move(groups), std::make_unique<Options>(defaults)) {}

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
            finish();  // what is left of the step would be a part of the next one
            throw;
        }
        finish();
        return loss;
    }

    /// What it remembers, for `torch::save` and `torch::load`. Options are not stored.
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
    /// Stores or sets what it remembers.
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
        for (const torch::optim::OptimizerParamGroup& group : param_groups_) {
            for (const at::Tensor& parameter : group.params()) function(position++, parameter);
        }
    }
    /// Brings the states into the order of the parameters: groups may have come, and users may have changed them.
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
    /// Goes through all parameters; moves others than dense ones, and leaves those for `finish`.
    void gather() {
        std::size_t position = 0;
        for (torch::optim::OptimizerParamGroup& group : param_groups_) {
            const auto& options = static_cast<const Options&>(group.options());
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
            } catch (...) {  // none of the group is moved
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
    /// Decides how a parameter is moved.
    void sort(const at::Tensor& parameter, const at::Tensor& gradient, State& state, std::size_t position,
              const Options& options) {
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
        // What reads the parameter in a graph must see that it has changed.
        parameter.unsafeGetTensorImpl()->bump_version();
    }

    std::vector<State> states_;  // in the order of the parameters
    // Lists that every step fills anew; kept to spare the allocations.
    Moves dense_floats_, dense_doubles_, others_;
    std::deque<at::Tensor> copies_;  // of gradients in another order; an address stays good
};

/// The tensors of moves, one list for each.
template <std::size_t slots, class Get>
std::vector<at::Tensor> list_of(const std::vector<Moved<slots>>& moved, Get&& get) {
    std::vector<at::Tensor> result;
    result.reserve(moved.size());
    for (const auto& each : moved) result.push_back(get(each));
    return result;
}

/// \throws ConfigError if the value is not a number of at least 0
inline void check_optimizer_number(const char* who, const char* what, double value) {
    if (!(value >= 0 && std::isfinite(value))) {
        throw ConfigError(concat(who, ": expected ", what, " of at least 0, found ", value));
    }
}

}  // namespace retort::detail
