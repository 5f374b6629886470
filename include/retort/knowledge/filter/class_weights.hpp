// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights samples by class.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort {

/// Weights each sample by its target class; zeros mask classes.
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
        return weights.index_select(0, classes);
    }
    void check() const {
        if (!weights.defined() || weights.dim() != 1 || weights.numel() == 0) {
            throw ConfigError(detail::concat("ClassWeights: expected weights of shape [classes], found ",
                                             detail::shape_text(weights)));
        }
    }
};

}  // namespace retort
