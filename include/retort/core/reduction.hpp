// SPDX-License-Identifier: BSL-1.0
/// \file
/// How the values of a loss become one number.
#pragma once

namespace retort {

/// How the values of a loss become one number. What the elements are, each loss says itself.
enum class Reduction {
    none,       ///< one value per sample
    batchmean,  ///< sum over all else, mean over the samples
    mean,       ///< mean over all elements
    sum,        ///< sum over all elements
};

}  // namespace retort
