// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a gate: how much of a loss passes along an edge of a transfer graph.
///
/// | expression | meaning |
/// |---|---|
/// | `G::per_sample` | required, `static constexpr bool`: whether it weights the loss of each sample |
/// | `gate.weight(iteration, progress)` | required if `per_sample` is false, otherwise optional (1); the weight of the edge in this step, a finite `double`. 0: the edge is not computed. `iteration` counts the steps of the edge from 1 |
/// | `gate(losses, receiver_outputs, source_outputs, batch)` | required if `per_sample` is true; maps the losses of the samples, [batch], to those after the gate, [batch]; the edge's loss is their mean. On an edge from the labels the source is `retort::NoOutputs`. No gradient except through `losses` |
/// | `gate.check()` | optional; throws ConfigError if an option is invalid |
/// | `gate.checkpoint(archive)` | required if the gate has state: stores or sets it (`retort::Archive`); copies share it. Gates have no learnable parts |
/// | `gate.name()` | optional; its name in files and pictures; default: the name of its type |
/// | `gate.options()` | optional; its options by name, as `std::map<std::string, double>`, for files and pictures |
///
/// A minimal example, the easier half of the samples:
///
///     struct EasierHalf {
///         static constexpr bool per_sample = true;
///         at::Tensor operator()(const at::Tensor& losses, const auto&, const auto&, const auto&) const {
///             return losses * losses.detach().le(losses.detach().median());
///         }
///     };
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstdint>
#include <map>
#include <string>

#include <retort/core/progress.hpp>
#include <retort/detail/type_name.hpp>

namespace retort {

/// A gate that gives an edge a weight.
template <class G>
concept WeighingGate = requires(const G& gate, std::int64_t iteration, const Progress& progress) {
    { gate.weight(iteration, progress) } -> std::convertible_to<double>;
};

/// A type that declares whether it is per-sample.
template <class G>
concept SaysWhatItGates = requires {
    { G::per_sample } -> std::convertible_to<bool>;
};

/// A gate, as far as can be checked without outputs.
template <class G>
concept Gate = SaysWhatItGates<G> && (WeighingGate<G> || bool(G::per_sample));

/// A gate that passes the losses of samples for these outputs and this batch.
template <class G, class ReceiverOutputs, class SourceOutputs, class B>
concept SampleGate = requires(const G& gate, const at::Tensor& losses, const ReceiverOutputs& receiver,
                              const SourceOutputs& source, const B& batch) {
    { gate(losses, receiver, source, batch) } -> std::convertible_to<at::Tensor>;
};

namespace detail {

template <class G>
double gate_weight(const G& gate, std::int64_t iteration, const Progress& progress) {
    if constexpr (WeighingGate<G>) {
        return gate.weight(iteration, progress);
    } else {
        return 1.0;
    }
}

template <class G>
std::string gate_name(const G& gate) {
    if constexpr (requires { std::string(gate.name()); }) {
        return std::string(gate.name());
    } else {
        return std::string(type_name<G>());
    }
}

template <class G>
std::map<std::string, double> gate_options(const G& gate) {
    if constexpr (requires { gate.options(); }) {
        return gate.options();
    } else {
        return {};
    }
}

}  // namespace detail
}  // namespace retort
