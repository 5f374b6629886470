// SPDX-License-Identifier: BSL-1.0
/// \file
/// The number of correct predictions in a batch.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>

#include <retort/core/batch.hpp>
#include <retort/core/logits.hpp>

namespace retort::detail {

/// The number of correct predictions in a batch, of the plain views only if there are several: a tensor on the
/// batch's device; undefined if the targets are not class indices.
template <class Outputs, class B>
at::Tensor right_answers(const Outputs& outputs, const B& batch) {
    at::Tensor right;
    if constexpr (LabeledBatch<B> && HasLogits<Outputs>) {
        const auto& truth = target(batch);
        const auto& scores = logits(outputs);
        if (truth.defined() && truth.dim() == 1 && scores.dim() == 2 && truth.scalar_type() == at::kLong) {
            const at::NoGradGuard no_grad;
            const std::int64_t views = view_count(batch);
            const at::Tensor plain = views == 1 ? scores : scores.slice(0, 0, scores.size(0), views);
            right = plain.argmax(1).eq(truth).sum();
        }
    }
    return right;
}

}  // namespace retort::detail
