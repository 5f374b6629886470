// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights samples by class.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/counted.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort {

/// Weights each sample by its target class; zeros mask classes. Ignored targets have the weight 0.
struct ClassWeights {
    static constexpr bool needs_target = true;

    at::Tensor weights;  ///< [classes], on the device of the targets; floating-point or bool

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student&, const Teacher&, const B& batch) const {
        const at::Tensor classes = target(batch);
        detail::check_defined("ClassWeights", "targets", classes);
        if (classes.dim() != 1 || classes.scalar_type() != at::kLong) {
            throw ShapeError(
                detail::concat("ClassWeights: expected targets of shape [batch] and type Long, found ",
                               detail::shape_text(classes), " and ", classes.scalar_type()));
        }
        detail::check_same_device("ClassWeights", "the weights", weights, "the targets", classes);
        const std::int64_t ignored = detail::ignore_index_of(batch);
        if (classes.device().is_cpu() && classes.is_contiguous()) {
            const auto* first = classes.template data_ptr<std::int64_t>();
            if (std::find(first, first + classes.numel(), ignored) == first + classes.numel())
                return weights.index_select(0, classes);
        }
        const at::Tensor ignore = classes.eq(ignored);
        return weights.index_select(0, classes.masked_fill(ignore, 0)).masked_fill_(ignore, 0);
    }
    void check() const {
        if (!weights.defined() || weights.dim() != 1 || weights.numel() == 0) {
            throw ConfigError(detail::concat("ClassWeights: expected weights of shape [classes], found ",
                                             detail::shape_text(weights)));
        }
    }
};

}  // namespace retort
