// SPDX-License-Identifier: BSL-1.0
/// \file
/// Applies the reduction of a loss to its elements.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cstdint>

#include <retort/core/reduction.hpp>

namespace retort::detail {

/// How the elements of one sample are reduced to one value, which `Reduction::none` returns.
enum class PerSample { mean, sum };

inline at::Tensor scaled(const at::Tensor& value, double factor) {
    return factor == 1.0 ? value : value * factor;
}

/// One value per sample: of elements [batch, ...], [batch].
inline at::Tensor per_sample(const at::Tensor& elements, PerSample each) {
    if (elements.dim() == 1) return elements;
    const at::Tensor rows = elements.dim() == 2 ? elements : elements.reshape({elements.size(0), -1});
    return each == PerSample::mean ? rows.mean(1) : rows.sum(1);
}

/// Elements [batch, ...] of a loss, reduced. With one element per sample, `batchmean` and `mean` are the same.
inline at::Tensor reduce(const at::Tensor& elements, Reduction reduction, PerSample each = PerSample::mean) {
    switch (reduction) {
        case Reduction::none:
            return per_sample(elements, each);
        case Reduction::sum:
            return elements.sum();
        case Reduction::batchmean:
            if (elements.dim() > 1) return elements.sum() / elements.size(0);
            break;
        case Reduction::mean:
            break;
    }
    return elements.mean();
}

/// The same, times a factor: one more operator at most.
inline at::Tensor reduce(const at::Tensor& elements, Reduction reduction, PerSample each, double factor) {
    if (reduction == Reduction::batchmean && elements.dim() > 1)
        return scaled(elements.sum(), factor / static_cast<double>(elements.size(0)));
    return scaled(reduce(elements, reduction, each), factor);
}

/// What the sum of all elements is divided by: the number of samples, of all elements, or 1.
/// \param elements in each sample
inline double divisor(Reduction reduction, std::int64_t samples, std::int64_t elements) {
    if (reduction == Reduction::none || reduction == Reduction::sum) return 1;
    const auto count = static_cast<double>(samples);
    return reduction == Reduction::mean ? count * static_cast<double>(elements) : count;
}

}  // namespace retort::detail
