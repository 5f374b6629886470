// SPDX-License-Identifier: BSL-1.0
/// \file
/// Combines several teachers into one.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/core/logits.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/teacher/concept.hpp>
#include <retort/teacher/detail/teacher_state.hpp>

namespace retort {

/// Options of `Ensemble`.
struct EnsembleOptions {
    enum class Mean {
        of_logits,         ///< \f$ z = \sum_m w_m z_m \f$
        of_probabilities,  ///< \f$ z = \log \sum_m w_m \sigma(z_m) \f$: at temperature 1 the softmax of z is
                           ///< the mean probability
    };
    Mean mean = Mean::of_logits;
    std::vector<double>
        weights{};  ///< one per teacher, not negative; normalized to sum to 1. Empty: equal weights
};

/// The outputs of an `Ensemble`: its logits, and the outputs of each member for terms that tap them.
template <class... Outputs>
struct EnsembleOutputs {
    at::Tensor logits;
    std::tuple<Outputs...> members;
};

/// Combines several teachers into one: the weighted mean of their logits or of their probabilities.
///
///     retort::Ensemble{retort::Frozen{a}, retort::Frozen{b}}
///     retort::Ensemble{retort::EnsembleOptions{.weights = {2.0, 1.0}}, retort::Frozen{a}, retort::Frozen{b}}
/// \throws ConfigError on construction, if the weights are invalid; ShapeError if the members differ in the number of
/// classes
template <class... Teachers>
class Ensemble {
    static_assert(sizeof...(Teachers) > 0, "retort: an Ensemble needs at least one teacher");
    static_assert((!Network<Teachers> && ...),
                  "retort: a member of an Ensemble is a bare network; wrap it in a teacher policy: "
                  "retort::Frozen{network}");
    static_assert(
        (!LearnsByGradient<Teachers> && ...),
        "retort: a member of an Ensemble gets no gradient: a PartiallyTrainable teacher would not learn");

  public:
    static constexpr bool learns_along = (LearnsAlong<Teachers> || ...);

    explicit Ensemble(Teachers... teachers) : Ensemble(EnsembleOptions{}, std::move(teachers)...) {}
    explicit Ensemble(EnsembleOptions options, Teachers... teachers)
        : options_(std::move(options)), teachers_(std::move(teachers)...) {
        std::vector<double>& weights = options_.weights;
        if (weights.empty()) weights.assign(sizeof...(Teachers), 1.0);
        if (weights.size() != sizeof...(Teachers)) {
            throw ConfigError(detail::concat("Ensemble: expected one weight for each of the ",
                                             sizeof...(Teachers), " teachers, found ", weights.size()));
        }
        double sum = 0;
        for (const double weight : weights) {
            if (!(weight >= 0 && std::isfinite(weight))) {
                throw ConfigError(detail::concat("Ensemble: expected weights of at least 0, found ", weight));
            }
            sum += weight;
        }
        if (sum <= 0) throw ConfigError("Ensemble: expected a weight above 0, found only zeros");
        for (double& weight : weights) weight /= sum;
    }

    template <class I>
    auto operator()(const I& value) {
        const at::NoGradGuard no_grad;
        return std::apply(
            [&](auto&... teacher) {
                EnsembleOutputs<TeacherOutputsOf<Teachers, I>...> outputs{{}, {teacher(value)...}};
                static_assert((HasLogits<TeacherOutputsOf<Teachers, I>> && ...),
                              "retort: a member of an Ensemble has no logits: its outputs have no member "
                              "`logits`, and there is "
                              "no function logits(outputs) in the namespace of their type");
                outputs.logits =
                    std::apply([&](const auto&... member) { return combine({::retort::logits(member)...}); },
                               outputs.members);
                return outputs;
            },
            teachers_);
    }

    std::vector<torch::nn::Module*> modules() const {
        std::vector<torch::nn::Module*> result;
        const auto add = [&](const std::vector<torch::nn::Module*>& more) {
            result.insert(result.end(), more.begin(), more.end());
        };
        std::apply([&](const auto&... teacher) { (add(detail::teacher_modules(teacher)), ...); }, teachers_);
        return result;
    }

    void update(const Progress& progress)
        requires(Updated<Teachers> || ...)
    {
        std::apply([&](auto&... teacher) { (update_one(teacher, progress), ...); }, teachers_);
    }
    void checkpoint(Archive& archive)
        requires(Checkpointed<Teachers> || ...)
    {
        std::size_t position = 0;
        std::apply(
            [&](auto&... teacher) {
                (archive.in(detail::concat("member", position++),
                            [&] { detail::archive_teacher(archive, teacher); }),
                 ...);
            },
            teachers_);
    }

  private:
    template <class T>
    static void update_one(T& teacher, const Progress& progress) {
        if constexpr (Updated<T>) teacher.update(progress);
    }
    at::Tensor combine(const std::vector<at::Tensor>& members) const {
        for (std::size_t i = 0; i < members.size(); ++i) {
            detail::check_logits("Ensemble", detail::concat("the logits of teacher ", i), members[i]);
            detail::check_alike("Ensemble", "the logits of teacher 0", members[0],
                                detail::concat("those of teacher ", i), members[i]);
        }
        if (options_.mean == EnsembleOptions::Mean::of_probabilities) {
            std::vector<at::Tensor> terms;
            for (std::size_t i = 0; i < members.size(); ++i) {
                if (options_.weights[i] == 0) continue;
                terms.push_back(at::log_softmax(detail::at_least_float32(members[i]), 1) +
                                std::log(options_.weights[i]));
            }
            return at::logsumexp(at::stack(terms), 0).to(members[0].scalar_type());
        }
        at::Tensor result = members[0] * options_.weights[0];
        for (std::size_t i = 1; i < members.size(); ++i) result = result + members[i] * options_.weights[i];
        return result;
    }

    EnsembleOptions options_;
    std::tuple<Teachers...> teachers_;
};

template <class... Teachers>
Ensemble(EnsembleOptions, Teachers...) -> Ensemble<Teachers...>;

}  // namespace retort
