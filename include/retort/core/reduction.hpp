// SPDX-License-Identifier: BSL-1.0
/// \file
/// How the elements of a loss are reduced to one number.
#pragma once

namespace retort {

/// How the elements of a loss are reduced to one number. Each loss documents what its elements are.
enum class Reduction {
    none,       ///< one value per sample
    batchmean,  ///< sum over the other dimensions, mean over the samples
    mean,       ///< mean over all elements
    sum,        ///< sum over all elements
};

}  // namespace retort
