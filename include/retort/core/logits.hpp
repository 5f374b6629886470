// SPDX-License-Identifier: BSL-1.0
/// \file
/// The logits among the outputs of a network.
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <type_traits>

namespace retort {

namespace detail::outputs {

void logits() = delete;  // poison pill: only functions found by argument-dependent lookup count

template <class O>
concept HasOwnLogits = requires(const O& outputs) {
    { logits(outputs) } -> std::convertible_to<at::Tensor>;
};
template <class O>
concept HasLogitsMember = requires(const O& outputs) {
    requires std::same_as<std::remove_cvref_t<decltype((outputs.logits))>, at::Tensor>;
};

struct Logits {
    template <class O>
        requires std::same_as<O, at::Tensor> || HasOwnLogits<O> || HasLogitsMember<O>
    decltype(auto) operator()(const O& outputs) const {
        if constexpr (std::same_as<O, at::Tensor>) {
            return static_cast<const at::Tensor&>(outputs);
        } else if constexpr (HasOwnLogits<O>) {
            return logits(outputs);
        } else {
            return static_cast<const at::Tensor&>(outputs.logits);
        }
    }
};

}  // namespace detail::outputs

/// The logits among the outputs of a network's forward. Looked up in this order: the outputs themselves, if they are
/// a tensor; a function `logits(outputs)` in the namespace of their type; a member `logits`.
inline constexpr detail::outputs::Logits logits{};

/// Outputs among which `retort::logits(outputs)` finds a tensor.
template <class O>
concept HasLogits = requires(const O& outputs) { ::retort::logits(outputs); };

}  // namespace retort
