// SPDX-License-Identifier: BSL-1.0
/// \file
/// Retention by elastic weights: parameters that earlier tasks depend on are held.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/community/diagonal_fisher.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/weighted.hpp>

namespace retort::community {

using ::retort::operator*;  // found by the namespace of its terms: 0.5 * ElasticWeights{}

/// Options of `ElasticWeights`. The defaults are of this library.
struct ElasticWeightsOptions {
    /// How tasks are combined.
    enum class Tasks {
        separate,  ///< each with its own anchor. Exactly, and in the memory of one: a sum of quadratics is one
        online,    ///< F = decay * F + the new one, with the latest anchor (Schwarz et al., 2018)
        average,  ///< F = decay * F + (1 - decay) * the new one, beginning with F = 0, with the latest anchor (FACIL)
    };
    double weight = 100;  ///< lambda, at least 0
    Tasks tasks = Tasks::separate;
    double decay = 1;  ///< of `online` and `average`, in [0, 1]
    FisherOptions fisher{};

    void check() const {
        using namespace ::retort::detail;
        check_range("ElasticWeights", "a weight", weight, at_least(0));
        check_range("ElasticWeights", "a decay", decay, in_closed(0, 1));
        fisher.check();
    }
};

/// Elastic weight consolidation: a knowledge term that draws the parameters to where they were when earlier tasks were
/// learned, each as strongly as those tasks depend on it.
///
/// Formula: \f$ \frac{\lambda}{2} \sum_{tasks} \sum_i F_i (\theta_i - \theta^*_i)^2 \f$ with the diagonal \f$ F \f$ of the
/// Fisher information and the parameters \f$ \theta^* \f$ at the end of the task. (Avalanche and moskomule/ewc.pytorch leave
/// the 1/2 out: take twice their lambda.) 0 before the first `consolidate`.
/// Gradient: to the student's parameters of the names that were consolidated.
///
/// Copies share their state, as the copies in trainers are to have it.
/// Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017.
class ElasticWeights {
  public:
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = false;
    static constexpr bool reads_parameters = true;

    explicit ElasticWeights(const ElasticWeightsOptions& options = {})
        : options_(options), state_(std::make_shared<State>()) {
        check();
    }

    void check() const { options_.check(); }
    const ElasticWeightsOptions& options() const { return options_; }
    static std::string name() { return "elastic_weights"; }

    /// The student whose parameters the term reads.
    template <class Student>
    void bind(const NetworkRef<Student>& student) {
        state_->bound = all_parameters(student.module());
    }

    /// Remembers a task.
    /// \param parameters by name, at the end of the task
    /// \param fisher the diagonal of their Fisher information, in the same order
    void consolidate(const std::vector<NamedParameter>& parameters, const std::vector<at::Tensor>& fisher) {
        using Tasks = ElasticWeightsOptions::Tasks;
        const at::NoGradGuard no_grad;
        if (parameters.size() != fisher.size()) {
            throw ConfigError(::retort::detail::concat("ElasticWeights: expected ", parameters.size(),
                                                       " tensors of the Fisher information, found ",
                                                       fisher.size()));
        }
        for (std::size_t i = 0; i < fisher.size(); ++i)
            ::retort::detail::check_alike("ElasticWeights", parameters[i].name, parameters[i].tensor,
                                          "its Fisher information", fisher[i]);
        for (std::size_t i = 0; i < fisher.size(); ++i) {
            Quadratic& held = state_->held[parameters[i].name];
            const at::Tensor anchor = parameters[i].tensor.detach().clone();
            const at::Tensor added = fisher[i].detach();
            if (!held.fisher.defined()) {
                held.fisher = added * (options_.tasks == Tasks::average ? 1 - options_.decay : 1.0);
                held.anchor = anchor;
            } else if (options_.tasks == Tasks::separate) {
                // F1 (x - a)^2 + F2 (x - b)^2 = (F1 + F2) (x - c)^2 + F1 F2 / (F1 + F2) (a - b)^2
                const at::Tensor sum = held.fisher + added;
                const at::Tensor share = at::where(sum > 0, added / sum, at::zeros_like(sum));
                const at::Tensor apart = anchor - held.anchor;
                state_->constant +=
                    (held.fisher * share * apart.square()).sum().to(at::kDouble).item<double>();
                held.anchor.add_(share * apart);
                held.fisher = sum;
            } else {
                held.fisher = options_.decay * held.fisher +
                              (options_.tasks == Tasks::average ? 1 - options_.decay : 1.0) * added;
                held.anchor = anchor;
            }
        }
    }
    /// Remembers a task, with the Fisher information of a network's trainable parameters on samples of it. The network
    /// is in evaluation mode meanwhile.
    /// \param logits as in `diagonal_fisher`
    template <class Logits>
    void consolidate(torch::nn::Module& network, Logits&& logits, const at::Tensor& input,
                     const at::Tensor& target = {}) {
        const EvalMode eval(network);
        const auto named = ::retort::detail::trainable_named_parameters(network);
        consolidate(named, diagonal_fisher(::retort::detail::tensors_of(named), logits, input, target,
                                           options_.fisher));
    }
    /// Remembers a task of a node: holds the trunk, as heads of earlier tasks are not trained.
    /// \param network its `forward` returns outputs with a member `heads`
    /// \param probabilities what the network said of the samples, [samples, classes]
    template <class Network>
    void retain(Network& network, std::size_t task, const at::Tensor& input,
                const at::Tensor& probabilities) {
        const EvalMode eval(network);
        std::vector<NamedParameter> trunk;
        for (NamedParameter& each : ::retort::detail::trainable_named_parameters(network)) {
            if (each.name.starts_with("trunk.")) trunk.push_back(std::move(each));
        }
        if (trunk.empty()) return;
        consolidate(trunk, diagonal_fisher(
                               ::retort::detail::tensors_of(trunk),
                               [&](const at::Tensor& rows) { return network.forward(rows).heads.at(task); },
                               input, probabilities.argmax(1), options_.fisher));
    }
    bool empty() const { return state_->held.empty(); }

    /// The penalty at these parameters. Those of other names do not count.
    /// \throws ConfigError if one is missing; ShapeError if one has another shape
    at::Tensor penalty(const std::vector<NamedParameter>& parameters) const {
        std::map<std::string, at::Tensor> by_name;
        for (const NamedParameter& each : parameters) by_name[each.name] = each.tensor;
        at::Tensor sum;
        for (const auto& [name, held] : state_->held) {
            const auto found = by_name.find(name);
            if (found == by_name.end()) {
                throw ConfigError(
                    ::retort::detail::concat("ElasticWeights: expected a parameter ", name, ", found none"));
            }
            const at::Tensor& parameter = found->second;
            if (parameter.sizes() != held.anchor.sizes())
                ::retort::detail::check_alike("ElasticWeights", name, parameter, "its anchor", held.anchor);
            const at::Tensor each = (held.fisher.to(parameter.device()) *
                                     (parameter - held.anchor.to(parameter.device())).square())
                                        .sum();
            sum = sum.defined() ? sum + each : each;
        }
        if (!sum.defined()) {
            return parameters.empty() ? at::scalar_tensor(0.0)
                                      : at::scalar_tensor(0.0, parameters.front().tensor.options());
        }
        return (sum + state_->constant) * (options_.weight / 2);
    }
    template <class Student, class B>
    at::Tensor operator()(const Student&, const NoOutputs&, const B&) const {
        if (state_->bound.empty()) {
            throw ConfigError(
                "ElasticWeights: expected the student's parameters (bind), found none: a Trainer gives them; "
                "with a bare "
                "Objective call objective.knowledge().bind(network)");
        }
        return penalty(state_->bound);
    }

    void checkpoint(Archive& archive) {
        std::vector<std::string> names;
        std::vector<at::Tensor> fisher;
        std::vector<at::Tensor> anchors;
        for (const auto& [name, held] : state_->held) {
            names.push_back(name);
            fisher.push_back(held.fisher);
            anchors.push_back(held.anchor);
        }
        archive("names", names);
        archive("fisher", fisher);
        archive("anchors", anchors);
        archive("constant", state_->constant);
        if (!archive.loading()) return;
        if (names.size() != fisher.size() || names.size() != anchors.size()) {
            throw CheckpointError(::retort::detail::concat(archive.where(),
                                                           ": elastic weights: expected as many names as "
                                                           "tensors, found ",
                                                           names.size(), ", ", fisher.size(), " and ",
                                                           anchors.size()));
        }
        state_->held.clear();
        for (std::size_t i = 0; i < names.size(); ++i) state_->held[names[i]] = {fisher[i], anchors[i]};
    }

  private:
    struct Quadratic {
        at::Tensor fisher;
        at::Tensor anchor;
    };
    struct State {
        std::map<std::string, Quadratic> held;
        double constant = 0;  // what completing the squares left over
        std::vector<NamedParameter> bound;
    };
    static std::vector<NamedParameter> all_parameters(const torch::nn::Module& module) {
        std::vector<NamedParameter> result;
        for (const auto& each : module.named_parameters()) result.push_back({each.key(), each.value()});
        return result;
    }

    ElasticWeightsOptions options_;
    std::shared_ptr<State> state_;
};

}  // namespace retort::community
