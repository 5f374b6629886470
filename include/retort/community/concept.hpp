// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contracts of a node's policies.
///
/// **Self-assessment**: how strange samples are to a task.
///
/// | expression | meaning |
/// |---|---|
/// | `assessment.fit(evidence)` | required; fits it to own samples of a task (`Evidence`: inputs, features, logits, targets) |
/// | `assessment.score(evidence)` | required; one score per sample, [samples], float64, larger is stranger; without gradient |
/// | `assessment.check()` | optional; throws ConfigError where the options make no sense |
/// | `assessment.checkpoint(archive)` | required where `fit` changes it: stores or sets the state |
///
/// A `Calibration` makes a threshold and verdicts of the scores, for all of them alike.
///
/// **Teacher choice**: who teaches.
///
/// | expression | meaning |
/// |---|---|
/// | `T::one` | required, `static constexpr bool`; true: the first whose labels can be trusted teaches; false: all of them, combined |
/// | `choice.order(offers, seed)` | required; positions of those that are asked, in this order; offers are sorted, least strange first |
/// | `choice.combine(logits)` | required where `one` is false; the labels from those of several teachers, [samples, classes] each |
///
/// **Retention**: what keeps earlier tasks. Copies share their state.
///
/// | expression | meaning |
/// |---|---|
/// | `retention.retain(network, task, input, probabilities)` | required; remembers a task that was learned: the network (`NodeNetwork`), the number of its head, samples, and what it says of them |
/// | a knowledge term | optional; where it says what it needs (`knowledge/concept.hpp`), it is a term of the loss while the node learns. It `needs_teacher = false` |
/// | `retention.checkpoint(archive)` | required where `retain` changes it |
///
/// A minimal example:
///
///     struct Brightness {                                        // knows images as bright as its own
///         void fit(const retort::community::Evidence& own) { mean = own.input.mean().item<double>(); }
///         at::Tensor score(const retort::community::Evidence& e) const {
///             return (e.input.flatten(1).mean(1).to(at::kDouble) - mean).abs();
///         }
///         void checkpoint(retort::Archive& archive) { archive("mean", mean); }
///         double mean = 0;
///     };
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <retort/community/evidence.hpp>
#include <retort/community/offer.hpp>

namespace retort::community {

template <class T>
concept SelfAssessment =
    std::copyable<T> && requires(T& assessment, const T& fitted, const Evidence& evidence) {
        assessment.fit(evidence);
        { fitted.score(evidence) } -> std::same_as<at::Tensor>;
    };

template <class T>
concept TeacherChoice =
    std::copyable<T> && requires(const T& choice, const std::vector<Offer>& offers, std::uint64_t seed) {
        { T::one } -> std::convertible_to<bool>;
        { choice.order(offers, seed) } -> std::same_as<std::vector<std::size_t>>;
    } && (T::one || requires(const T& choice, const std::vector<at::Tensor>& logits) {
        { choice.combine(logits) } -> std::same_as<at::Tensor>;
    });

template <class T, class Network>
concept Retention = std::copyable<T> && requires(T& retention, Network& network, const at::Tensor& tensor) {
    retention.retain(network, std::size_t{}, tensor, tensor);
};

}  // namespace retort::community
