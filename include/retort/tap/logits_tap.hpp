// SPDX-License-Identifier: BSL-1.0
/// \file
/// The logits as a tap.
#pragma once

#include <ATen/core/Tensor.h>

#include <retort/core/logits.hpp>

namespace retort {

/// A tap that reads the logits: `retort::logits(outputs)`.
struct LogitsTap {
    template <HasLogits O>
    at::Tensor operator()(const O& outputs) const {
        return retort::logits(outputs);
    }
    static const char* name() { return "logits"; }
};

}  // namespace retort
