// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher of which some parameters learn beside the student.
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
struct PartlyTrainableOptions {
    /// Which parameters learn, by name: `*` stands for any characters, dots too, `?` for one (as in `GroupRule`).
    std::string parameters{};
};

namespace detail {

/// While it lives, parameters require no gradient; then those that did do again.
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

/// A trained network that teaches, and of which some parameters learn beside the student, such as a new head for other
/// classes:
///
///     retort::Trainer trainer{student, retort::PartiallyTrainable{teacher, {.parameters = "head.*"}},
///                             retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{},
///                                               retort::ForTeacher{retort::CrossEntropy{}}},
///                             retort::Schedule{0.5, 0.5, 1.0}, retort::Sgd{.learning_rate = 0.05}};
///
/// Only the chosen parameters change, and only by the terms that say so (`ForTeacher`): all other terms see the teacher's
/// outputs as constants, so that no loss pulls the teacher towards the student. The rest stays as it is, as with
/// `Frozen`: no gradient is computed for it, and the whole network, the chosen parts too, runs in evaluation mode, so
/// that buffers do not change and dropout is off. `requires_grad` and training flags are afterwards as they were.
///
/// The trainer's optimizer moves the chosen parameters with the learnable parts of the knowledge; their names, for
/// `ParameterGroups`, begin with `teacher.`. They are in checkpoints; the rest is recognized by a hash. In a step in which
/// every `ForTeacher` term has weight 0, the teacher runs without gradient, as a frozen one.
///
/// Copies share the network. A module object must outlive the policy.
/// \throws ConfigError if no parameter is of that name, or a chosen one does not require a gradient
template <Network N>
class PartiallyTrainable {
  public:
    /// It changes in the course of a run.
    static constexpr bool learns_along = true;

    template <class M>
        requires std::same_as<std::remove_cvref_t<M>, N>
    explicit PartiallyTrainable(M&& network, const PartlyTrainableOptions& options)
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
                throw ConfigError(detail::concat("PartiallyTrainable: expected \"", each.name,
                                                 "\" to require a gradient, as it is to learn, found that it "
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
    /// The outputs with their graph, which ends in the chosen parameters.
    template <class I>
        requires Forwards<N, I>
    OutputsOf<N, I> with_gradient(const I& value) const {
        const detail::EvalMode eval(network_.module());
        const detail::RequiresNoGradient frozen(rest_);
        return network_->forward(value);
    }
    /// The chosen parameters, but for those that something has frozen since (`GroupRule::frozen`).
    std::vector<NamedParameter> trainable_parameters() const {
        std::vector<NamedParameter> result;
        for (const NamedParameter& each : chosen_) {
            if (each.tensor.requires_grad()) result.push_back(each);
        }
        return result;
    }

    /// Stores or sets the chosen parameters; compares the rest.
    void checkpoint(Archive& archive) {
        archive.expect("hash of what does not learn",
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
PartiallyTrainable(M&&, PartlyTrainableOptions) -> PartiallyTrainable<std::remove_cvref_t<M>>;

}  // namespace retort
