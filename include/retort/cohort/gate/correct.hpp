// SPDX-License-Identifier: BSL-1.0
/// \file
/// Gates by correctness of the predictions.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <concepts>

#include <retort/cohort/gate/concept.hpp>
#include <retort/core/batch.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/knowledge/filter/correct_teacher.hpp>

namespace retort::gate {

/// Only samples that the source classifies correctly pass: \f$ G(l) = \frac{1}{B} \sum_n m_n l_n \f$ with \f$ m_n = 1
/// \f$ where the source's most probable class is the target, else 0. Divided by the batch size, not by the number of
/// samples that pass. Labels are always right: on an edge from them it is `Through`.
struct Correct {
    static constexpr bool per_sample = true;

    template <class Receiver, class Source, class B>
    at::Tensor operator()(const at::Tensor& losses, const Receiver& receiver, const Source& source,
                          const B& batch) const {
        if constexpr (std::same_as<Source, NoOutputs>) {
            return losses;
        } else {
            return losses * CorrectTeacher{}(receiver, source, batch);
        }
    }
    static std::string name() { return "correct"; }
};

/// A weight for each of the four outcomes of a sample: source and receiver each right or wrong.
///
/// `Correct` is {1, 1, 0, 0}. The masks are those of the released code of the knowledge transfer graph.
struct Outcome {
    static constexpr bool per_sample = true;

    double both = 1.0;      ///< source and receiver are right
    double source = 1.0;    ///< only the source is
    double receiver = 0.0;  ///< only the receiver is
    double neither = 0.0;

    template <class Receiver, class Source, class B>
    at::Tensor operator()(const at::Tensor& losses, const Receiver& learner, const Source& from,
                          const B& batch) const {
        const at::Tensor learner_right = CorrectTeacher{}(learner, learner, batch);
        const at::Tensor right = at::where(learner_right, constant(losses, both), constant(losses, source));
        if constexpr (std::same_as<Source, NoOutputs>) {
            return losses * right;
        } else {
            const at::Tensor wrong =
                at::where(learner_right, constant(losses, receiver), constant(losses, neither));
            return losses * at::where(CorrectTeacher{}(learner, from, batch), right, wrong);
        }
    }
    void check() const {
        for (const double weight : {both, source, receiver, neither}) {
            if (!std::isfinite(weight)) {
                throw ConfigError(
                    retort::detail::concat("gate::Outcome: expected finite weights, found ", weight));
            }
        }
    }
    static std::string name() { return "outcome"; }
    std::map<std::string, double> options() const {
        return {{"both", both}, {"neither", neither}, {"receiver", receiver}, {"source", source}};
    }

  private:
    static at::Tensor constant(const at::Tensor& like, double value) {
        return at::scalar_tensor(value, like.options().requires_grad(false));
    }
};

}  // namespace retort::gate
