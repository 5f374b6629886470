// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a gate: how much of a transfer passes along an edge of a transfer graph.
///
/// | expression | meaning |
/// |---|---|
/// | `G::per_sample` | required, `static constexpr bool`: whether it looks at the losses of the single samples |
/// | `gate.weight(iteration, progress)` | required where `per_sample` is false, else optional (1); with how much weight the edge counts in this step, a finite `double`. 0: the edge is not computed. `iteration` counts the steps of the edge from 1 |
/// | `gate(losses, receiver_outputs, source_outputs, batch)` | required where `per_sample` is true; the losses of the samples, [batch], after the gate, [batch]; the edge's loss is their mean. On an edge from the labels the source is `retort::NoOutputs`. No gradient but through `losses` |
/// | `gate.check()` | optional; throws ConfigError where the options make no sense |
/// | `gate.checkpoint(archive)` | required where a gate remembers something: stores or sets it (`retort::Archive`); copies share it. Gates have no learnable parts |
/// | `gate.name()` | optional; what files and pictures call it; default: the name of its type |
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

/// A type that says whether it looks at single samples.
template <class G>
concept SaysWhatItGates = requires {
    { G::per_sample } -> std::convertible_to<bool>;
};

/// A gate, as far as can be told without outputs.
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
