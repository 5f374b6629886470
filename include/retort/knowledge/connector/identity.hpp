// SPDX-License-Identifier: BSL-1.0
/// \file
/// No connector: the features are comparable as they are.
#pragma once

#include <torch/nn/modules/linear.h>

#include <retort/knowledge/connector/concept.hpp>

namespace retort {

/// \f$ r(F) = F \f$.
struct Identity {
    static bool sized() { return true; }
    static torch::nn::Identity build(at::IntArrayRef, at::IntArrayRef) { return torch::nn::Identity(); }
    static std::string name() { return "Identity"; }
};

}  // namespace retort
