// SPDX-License-Identifier: BSL-1.0
/// \file
/// No retention: the baseline.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>

namespace retort::community {

/// Nothing is done against forgetting: a baseline. Is no term, and adds none.
struct NoRetention {
    template <class Network>
    void retain(Network&, std::size_t, const at::Tensor&, const at::Tensor&) {}
    static std::string name() { return "none"; }
};

}  // namespace retort::community
