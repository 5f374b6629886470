// SPDX-License-Identifier: BSL-1.0
/// \file
/// Stacks the branches of a network.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/stack.h>

#include <cstddef>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::detail {

/// The branches' logits as [batch, branches, classes].
/// \throws ShapeError if their number is not the expected one, or their shapes differ
inline at::Tensor stacked_branches(const char* where, const std::vector<at::Tensor>& branches,
                                   std::size_t expected) {
    if (branches.size() != expected || expected == 0) {
        throw ShapeError(concat(where, ": expected ", expected, " branches, found ", branches.size()));
    }
    for (std::size_t i = 0; i < branches.size(); ++i) {
        check_alike(where, "branch 0", branches[0], concat("branch ", i), branches[i]);
    }
    check_logits(where, "branch 0", branches[0]);
    return at::stack(branches, 1);
}

}  // namespace retort::detail
