// SPDX-License-Identifier: BSL-1.0
/// \file
/// How many answers of a batch are right.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>

#include <retort/core/batch.hpp>
#include <retort/core/logits.hpp>

namespace retort::detail {

/// How many answers of a batch are right, of several views those to the plain ones: a tensor on its device; undefined
/// where targets are no class indices.
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
