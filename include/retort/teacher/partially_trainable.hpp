// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher with some parameters that are trained together with the student.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/name_pattern.hpp>
#include <retort/teacher/frozen.hpp>

namespace retort {

/// Options of `PartiallyTrainable`.
struct PartiallyTrainableOptions {
    /// Which parameters are trained, by name: `*` matches any characters including dots, `?` matches one (as in `GroupRule`).
    std::string parameters{};
};

namespace detail {

/// While it lives, the parameters do not require gradients; then `requires_grad` is restored.
class RequiresNoGradient {
  public:
    explicit RequiresNoGradient(const std::vector<at::Tensor>& parameters) {
        for (const at::Tensor& each : parameters) {
            if (!each.requires_grad()) continue;
            changed_.push_back(each);
            each.requires_grad_(false);
        }
    }
    RequiresNoGradient(const RequiresNoGradient&) = delete;
    RequiresNoGradient& operator=(const RequiresNoGradient&) = delete;
    ~RequiresNoGradient() {
        for (const at::Tensor& each : changed_) each.requires_grad_(true);
    }

  private:
    std::vector<at::Tensor> changed_;
};

}  // namespace detail

/// A trained network that teaches, with some parameters that are trained together with the student, such as a new
/// head for other classes:
///
///     retort::Trainer trainer{student, retort::PartiallyTrainable{teacher, {.parameters = "head.*"}},
///                             retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{},
///                                               retort::ForTeacher{retort::CrossEntropy{}}},
///                             retort::Schedule{0.5, 0.5, 1.0}, retort::Sgd{.learning_rate = 0.05}};
///
/// Only the selected parameters change, and only through `ForTeacher` terms: all other terms see the
/// teacher's outputs as constants, so that no loss pulls the teacher towards the student. The rest is frozen: no
/// gradients are computed for it, and the whole network, the selected parts included, runs in evaluation mode, so
/// that buffers do not change and dropout is off. `requires_grad` and training flags are restored afterwards.
///
/// The trainer's optimizer updates the selected parameters with the learnable parts of the knowledge; their names,
/// for `ParameterGroups`, start with `teacher.`. They are in checkpoints; the rest is identified by a hash. In a step
/// where every `ForTeacher` term has weight 0, the teacher runs without gradient, like a frozen one.
///
/// Copies share the network. A module object must outlive the policy.
/// \throws ConfigError if no parameter matches, or a selected one does not require a gradient
template <Network N>
class PartiallyTrainable {
  public:
    /// It changes during a run.
    static constexpr bool learns_along = true;

    template <class M>
        requires std::same_as<std::remove_cvref_t<M>, N>
    explicit PartiallyTrainable(M&& network, const PartiallyTrainableOptions& options)
        : network_(network), teacher_(std::forward<M>(network)) {
        const std::string& pattern = options.parameters;
        std::vector<NamedParameter> all;
        for (const auto& item : network_.module().named_parameters())
            all.push_back({item.key(), item.value()});
        const auto known = [](const auto& some, const at::Tensor& tensor) {
            return std::any_of(some.begin(), some.end(),
                               [&](const NamedParameter& each) { return each.tensor.is_same(tensor); });
        };
        for (const NamedParameter& each : all) {
            if (!detail::matches(pattern, each.name) || known(chosen_, each.tensor)) continue;
            if (!each.tensor.requires_grad()) {
                throw ConfigError(detail::concat(
                    "PartiallyTrainable: expected \"", each.name,
                    "\" to require a gradient, since it is selected for training, found that it "
                    "does not (requires_grad_)"));
            }
            chosen_.push_back(each);
        }
        if (chosen_.empty()) {
            throw ConfigError(detail::concat("PartiallyTrainable: expected parameters named \"", pattern,
                                             "\", found none", detail::did_you_mean(pattern, all)));
        }
        for (const NamedParameter& each : all) {
            if (!known(chosen_, each.tensor)) rest_.push_back(each.tensor);
        }
    }

    /// The outputs without gradient.
    template <class I>
        requires Forwards<N, I>
    OutputsOf<N, I> operator()(const I& value) const {
        return teacher_(value);
    }
    /// The outputs with their graph, back to the selected parameters.
    template <class I>
        requires Forwards<N, I>
    OutputsOf<N, I> with_gradient(const I& value) const {
        const EvalMode eval(network_.module());
        const detail::RequiresNoGradient frozen(rest_);
        return network_->forward(value);
    }
    /// The selected parameters, except those frozen since (`GroupRule::frozen`).
    std::vector<NamedParameter> trainable_parameters() const {
        std::vector<NamedParameter> result;
        for (const NamedParameter& each : chosen_) {
            if (each.tensor.requires_grad()) result.push_back(each);
        }
        return result;
    }

    /// Stores or restores the selected parameters; compares the rest.
    void checkpoint(Archive& archive) {
        archive.expect("hash of what is not trained",
                       detail::hash_of_modules(modules(), detail::tensors_of(chosen_)));
        archive.in("parameters", [&] {
            for (NamedParameter& each : chosen_) archive(each.name, each.tensor);
        });
    }
    std::vector<torch::nn::Module*> modules() const { return teacher_.modules(); }

  private:
    NetworkRef<N> network_;
    Frozen<N> teacher_;
    std::vector<NamedParameter> chosen_;
    std::vector<at::Tensor> rest_;
};

template <class M>
PartiallyTrainable(M&&, PartiallyTrainableOptions) -> PartiallyTrainable<std::remove_cvref_t<M>>;

}  // namespace retort
