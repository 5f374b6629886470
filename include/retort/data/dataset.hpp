// SPDX-License-Identifier: BSL-1.0
/// \file
/// A data set in memory, checked on construction: samples, their targets and the number of classes.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/max.h>
#include <ATen/ops/min.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>

namespace retort::data {

/// Samples and their targets, all in memory and on one device. Created and checked by `in_memory` and by the readers
/// (`mnist`, `fashion_mnist`, `cifar10`, `cifar100`); tensors are shared, so copies of a data set cost nothing.
struct Dataset {
    /// N x ...: one sample per row; images are N x channels x height x width.
    at::Tensor inputs;
    /// N class indices (int64), or an undefined tensor if the samples have no labels.
    at::Tensor targets;
    /// The number of classes; 0 if unknown and not needed.
    std::int64_t classes = 0;

    /// The number of samples.
    std::int64_t size() const { return inputs.defined() ? inputs.size(0) : 0; }
    /// Whether the samples have targets.
    bool labeled() const { return targets.defined(); }

    /// `retort::to_device(dataset, device)`: the data set with its tensors on `device`.
    friend Dataset to_device(const Dataset& dataset, at::Device device) {
        return {::retort::to_device(dataset.inputs, device), ::retort::to_device(dataset.targets, device),
                dataset.classes};
    }
};

namespace detail {

/// The first sample that holds a NaN or an infinity, or -1. Checks some samples at a time, so that a large data set
/// needs no second copy of itself.
inline std::int64_t first_non_finite(const at::Tensor& inputs) {
    const auto count = inputs.size(0);
    const auto width = std::max<std::int64_t>(1, inputs.numel() / std::max<std::int64_t>(1, count));
    const auto step = std::max<std::int64_t>(1, (std::int64_t{1} << 22) / width);
    for (std::int64_t start = 0; start < count; start += step) {
        const auto rows = std::min(step, count - start);
        const auto bad = at::isfinite(inputs.narrow(0, start, rows)).reshape({rows, -1}).all(1).logical_not();
        if (bad.any().item<bool>()) return start + bad.to(at::kByte).argmax().item<std::int64_t>();
    }
    return -1;
}

/// Throws if a target lies outside [0, classes).
inline void check_targets(const at::Tensor& targets, std::int64_t classes) {
    const auto bad = targets.lt(0).logical_or(targets.ge(classes));
    if (!bad.any().item<bool>()) return;
    const auto where = bad.to(at::kByte).argmax().item<std::int64_t>();
    throw DataError(::retort::detail::concat(
        "data: expected targets from 0 to ", classes - 1, " (", classes, " classes), found ",
        targets.select(0, where).item<std::int64_t>(), " at sample ", where));
}

}  // namespace detail

/// A data set of tensors in memory. Nothing is copied.
/// \param inputs N x ..., N >= 1, of any type; floating-point values must be finite.
/// \param targets N class indices (int64) from 0 to classes - 1 on the device of the inputs, or an undefined
/// tensor.
/// \param classes the number of classes; at least 1 if there are targets.
/// \throws DataError if one of these does not hold, with the first offending sample
inline Dataset in_memory(at::Tensor inputs, at::Tensor targets, std::int64_t classes) {
    const c10::NoGradGuard no_grad;
    using ::retort::detail::concat;
    if (!inputs.defined()) throw DataError("data: expected a tensor of samples, found an undefined tensor");
    if (inputs.dim() < 1)
        throw DataError("data: expected samples of shape N x ..., found a tensor without dimensions");
    if (inputs.size(0) < 1) {
        throw DataError(
            concat("data: expected at least one sample, found none (shape ", inputs.sizes(), ")"));
    }
    if (inputs.is_floating_point()) {
        if (const auto where = detail::first_non_finite(inputs); where >= 0) {
            throw DataError(concat("data: expected finite values, found NaN or infinity in sample ", where,
                                   " of ", inputs.size(0)));
        }
    }
    if (targets.defined()) {
        if (targets.scalar_type() != at::kLong) {
            throw DataError(
                concat("data: expected targets of type int64 (Long), found ", targets.scalar_type()));
        }
        if (targets.dim() != 1 || targets.size(0) != inputs.size(0)) {
            throw DataError(concat("data: expected one target per sample, that is shape [", inputs.size(0),
                                   "], found shape ", targets.sizes()));
        }
        if (targets.device() != inputs.device()) {
            throw DataError(concat("data: expected inputs and targets on one device, found ", inputs.device(),
                                   " and ", targets.device()));
        }
        if (classes < 1) {
            throw DataError(
                concat("data: expected at least 1 class for samples with targets, found ", classes));
        }
        detail::check_targets(targets, classes);
    } else if (classes < 0) {
        throw DataError(concat("data: expected a number of classes of 0 or more, found ", classes));
    }
    return {std::move(inputs), std::move(targets), classes};
}

/// The samples of `dataset` at `indices` (int64, one dimension, at least one; repetition is allowed), in that order.
/// Samples are copied and renumbered from 0. The number of classes stays, even if some no longer occur.
/// \throws ConfigError if the indices are not of that kind or out of range
inline Dataset subset(const Dataset& dataset, const at::Tensor& indices) {
    const c10::NoGradGuard no_grad;
    using ::retort::detail::concat;
    if (!indices.defined() || indices.scalar_type() != at::kLong || indices.dim() != 1 ||
        indices.numel() < 1) {
        throw ConfigError("subset: expected at least one index in a one-dimensional int64 tensor");
    }
    const auto size = dataset.size();
    const auto bad = indices.lt(0).logical_or(indices.ge(size));
    if (bad.any().item<bool>()) {
        const auto where = bad.to(at::kByte).argmax().item<std::int64_t>();
        throw ConfigError(concat("subset: expected indices from 0 to ", size - 1, ", found ",
                                 indices.select(0, where).item<std::int64_t>(), " at position ", where));
    }
    const auto chosen = ::retort::to_device(indices, dataset.inputs.device());
    return {at::index_select(dataset.inputs, 0, chosen),
            dataset.labeled() ? at::index_select(dataset.targets, 0, chosen) : at::Tensor{}, dataset.classes};
}

}  // namespace retort::data
