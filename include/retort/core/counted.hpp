// SPDX-License-Identifier: BSL-1.0
/// \file
/// The predictions of a batch that count: what means and accuracies are over.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <concepts>
#include <cstdint>

#include <retort/core/batch.hpp>
#include <retort/core/logits.hpp>

namespace retort {

/// The class index of targets that do not count, unless a batch has a member `ignore_index`: LibTorch's.
inline constexpr std::int64_t ignored_target = -100;

namespace detail {

/// The class index of the targets of a batch that do not count.
template <class B>
std::int64_t ignore_index_of(const B& batch) {
    if constexpr (requires { std::int64_t{batch.ignore_index}; }) {
        return batch.ignore_index;
    } else {
        return ignored_target;
    }
}

/// The predictions of a batch.
struct Counted {
    std::int64_t predictions = 0;  ///< the samples; the targets where a sample has several (tokens, pixels)
    at::Tensor ignored{};          ///< how many of these do not count, if only the device knows
    at::Tensor right{};            ///< how many are right; undefined if unknown
};

/// Whether the targets are class indices, one for each prediction: logits [rows, classes, ...] as LibTorch's
/// cross-entropy has them, targets [samples, ...] for one or several views of each sample.
inline bool one_target_each(const at::Tensor& scores, const at::Tensor& truth, std::int64_t views) {
    return truth.defined() && scores.defined() && truth.scalar_type() == at::kLong && truth.dim() >= 1 &&
           scores.dim() == truth.dim() + 1 && scores.size(0) == truth.size(0) * views &&
           scores.sizes().slice(2) == truth.sizes().slice(1);
}

/// The predictions of a batch that count, of the plain views only if there are several. Does not wait for a device.
/// \param accuracy whether to count the right ones
template <class Outputs, class B>
Counted counted(const Outputs& outputs, const B& batch, bool accuracy) {
    Counted result{sample_count(batch)};
    if constexpr (LabeledBatch<B> && HasLogits<Outputs>) {
        const auto& truth = target(batch);
        const auto& scores = logits(outputs);
        const std::int64_t views = view_count(batch);
        if (!one_target_each(scores, truth, views)) return result;
        const at::NoGradGuard no_grad;
        result.predictions = truth.numel();
        const std::int64_t ignored = ignore_index_of(batch);
        if (truth.device().is_cpu() && truth.is_contiguous()) {
            const auto* first = truth.template data_ptr<std::int64_t>();
            result.predictions -= std::count(first, first + truth.numel(), ignored);
        } else {
            result.ignored = truth.eq(ignored).sum();
        }
        if (accuracy) {
            const at::Tensor plain = views == 1 ? scores : scores.slice(0, 0, scores.size(0), views);
            result.right = plain.argmax(1).eq(truth).sum();
        }
    }
    return result;
}

}  // namespace detail
}  // namespace retort
