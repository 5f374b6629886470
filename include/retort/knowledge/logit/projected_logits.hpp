// SPDX-License-Identifier: BSL-1.0
/// \file
/// Unmaterialized logits: hidden states and the projection to the vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <type_traits>

#include <retort/detail/check.hpp>

namespace retort {

/// Unmaterialized logits: \f$ z = h W^\top + b \f$. With a vocabulary of 100,000 words the logits of a batch are the
/// largest tensor of all; a loss on this type never materializes them.
struct ProjectedLogits {
    at::Tensor hidden;  ///< [tokens, width] or [batch, time, width]
    at::Tensor weight;  ///< [vocabulary, width], as in `torch::nn::Linear`
    at::Tensor bias{};  ///< [vocabulary]; undefined: none
};

namespace detail::outputs {

void projected_logits() = delete;  // poison pill: only functions found by argument-dependent lookup count

template <class O>
concept HasOwnProjectedLogits = requires(const O& outputs) {
    { projected_logits(outputs) } -> std::convertible_to<ProjectedLogits>;
};
template <class O>
concept HasProjectedLogitsMember = requires(const O& outputs) {
    requires std::same_as<std::remove_cvref_t<decltype((outputs.projected_logits))>, ProjectedLogits>;
};

struct FindProjectedLogits {
    template <class O>
        requires std::same_as<O, ProjectedLogits> || HasOwnProjectedLogits<O> || HasProjectedLogitsMember<O>
    decltype(auto) operator()(const O& outputs) const {
        if constexpr (std::same_as<O, ProjectedLogits>) {
            return static_cast<const ProjectedLogits&>(outputs);
        } else if constexpr (HasOwnProjectedLogits<O>) {
            return projected_logits(outputs);
        } else {
            return static_cast<const ProjectedLogits&>(outputs.projected_logits);
        }
    }
};

}  // namespace detail::outputs

/// The projected logits among the outputs of a network's forward. Looked up in this order: the outputs themselves; a
/// function `projected_logits(outputs)` in the namespace of their type; a member `projected_logits`.
inline constexpr detail::outputs::FindProjectedLogits projected_logits{};

/// Outputs among which `retort::projected_logits(outputs)` finds projected logits.
template <class O>
concept HasProjectedLogits = requires(const O& outputs) { ::retort::projected_logits(outputs); };

namespace detail {

/// \throws ShapeError if the parts do not match
inline void check_projected(std::string_view where, std::string_view whose, const ProjectedLogits& logits) {
    const std::string hidden = concat(whose, " hidden states"), weight = concat(whose, " projection"),
                      bias = concat(whose, " bias");
    check_defined(where, hidden, logits.hidden);
    check_defined(where, weight, logits.weight);
    const auto dimensions = logits.hidden.dim();
    if ((dimensions != 2 && dimensions != 3) || logits.hidden.numel() == 0) {
        throw ShapeError(concat(where, ": expected ", hidden,
                                " of shape [tokens, width] or [batch, time, width], found ",
                                shape_text(logits.hidden)));
    }
    if (logits.weight.dim() != 2 || logits.weight.numel() == 0 ||
        logits.weight.size(1) != logits.hidden.size(-1)) {
        throw ShapeError(concat(where, ": expected ", weight, " of shape [vocabulary, ",
                                logits.hidden.size(-1), "] for hidden states ", shape_text(logits.hidden),
                                ", found ", shape_text(logits.weight)));
    }
    if (logits.bias.defined() && (logits.bias.dim() != 1 || logits.bias.size(0) != logits.weight.size(0))) {
        throw ShapeError(concat(where, ": expected ", bias, " of shape [", logits.weight.size(0), "], found ",
                                shape_text(logits.bias)));
    }
    const auto check_part = [&](const std::string& name, const at::Tensor& part) {
        check_same_device(where, hidden, logits.hidden, name, part);
        if (!part.is_floating_point() || part.scalar_type() != logits.hidden.scalar_type()) {
            throw ShapeError(concat(where, ": expected ", hidden, " and ", name,
                                    " of one floating-point type, found ", logits.hidden.scalar_type(),
                                    " and ", part.scalar_type()));
        }
    };
    check_part(weight, logits.weight);
    if (logits.bias.defined()) check_part(bias, logits.bias);
}

}  // namespace detail
}  // namespace retort
