// SPDX-License-Identifier: BSL-1.0
/// \file
/// Targets that do not count.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include <retort/core/reduction.hpp>

namespace retort::detail {

/// Whether all class indices are the ignored one. False where only a device other than the CPU could tell.
inline bool none_counts(const at::Tensor& target, std::int64_t ignore_index) {
    if (!target.device().is_cpu() || !target.is_contiguous()) return false;
    const auto* first = target.data_ptr<std::int64_t>();
    return std::all_of(first, first + target.numel(),
                       [ignore_index](std::int64_t each) { return each == ignore_index; });
}

/// A loss of 0 that depends on the logits, with a gradient of 0 whatever they are.
inline at::Tensor no_loss(const at::Tensor& logits) { return logits.narrow(0, 0, 0).sum(); }

/// The loss of the samples whose target is not ignored: the others are as if they were not in the batch, and have the
/// loss 0 with `Reduction::none`. Issues no operator of its own where the targets are on the CPU and none is ignored;
/// does not wait for a device.
/// \param target class indices, [batch], or probabilities, of which all count
/// \param options of the loss, with members `reduction` and `ignore_index`
/// \param mean_divisor what `Reduction::mean` divides the mean of the samples by
/// \param loss called as `loss(select, target, options)`, where `select(logits)` are the rows of logits to use
template <class Options, class Loss>
at::Tensor of_counted(const at::Tensor& logits, const at::Tensor& target, const Options& options,
                      double mean_divisor, const Loss& loss) {
    const auto all = [](const at::Tensor& rows) { return rows; };
    if (!target.defined() || !logits.defined() || logits.dim() != 2 || target.dim() != 1 ||
        target.scalar_type() != at::kLong || target.size(0) != logits.size(0))
        return loss(all, target, options);
    if (target.device().is_cpu()) {
        const at::Tensor classes = target.contiguous();
        const auto* index = classes.data_ptr<std::int64_t>();
        const std::int64_t rows_in_all = classes.numel();
        if (std::find(index, index + rows_in_all, options.ignore_index) == index + rows_in_all)
            return loss(all, target, options);
        std::vector<std::int64_t> kept;
        for (std::int64_t row = 0; row < rows_in_all; ++row) {
            if (index[row] != options.ignore_index) kept.push_back(row);
        }
        const bool each = options.reduction == Reduction::none;
        const at::Tensor nothing = each ? logits.narrow(1, 0, 0).sum(1) : no_loss(logits);
        if (kept.empty()) return nothing;
        const at::Tensor rows = at::tensor(kept, at::TensorOptions(at::kLong));
        const auto select = [&rows](const at::Tensor& from) { return from.index_select(0, rows); };
        const at::Tensor value = loss(select, classes.index_select(0, rows), options);
        return each ? nothing.to(value.scalar_type()).index_add(0, rows, value) : value;
    }
    const at::Tensor counts = target.ne(options.ignore_index);
    Options of_each = options;
    of_each.reduction = Reduction::none;
    const at::Tensor value = loss(all, target.masked_fill(counts.logical_not(), 0), of_each);
    const at::Tensor kept = at::where(counts, value, at::zeros({}, value.options()));
    if (options.reduction == Reduction::none) return kept;
    if (options.reduction == Reduction::sum) return kept.sum();
    return kept.sum() /
           (counts.sum().clamp_min(1) * (options.reduction == Reduction::mean ? mean_divisor : 1.0));
}

}  // namespace retort::detail
