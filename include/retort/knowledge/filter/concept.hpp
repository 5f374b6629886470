// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a filter: a weight for each sample.
///
/// | expression | meaning |
/// |---|---|
/// | `filter(student_outputs, teacher_outputs, batch)` | required; a weight per sample, or whether it counts: [batch], floating-point or bool, without gradient |
/// | `F::needs_teacher`, `F::needs_target` | optional, `static constexpr bool`; false if missing |
/// | `filter.check()` | optional; throws ConfigError for invalid options |
/// | `filter.checkpoint(archive)` | required for filters with state: stores or restores it (`retort::Archive`); copies share it. Filters have no learnable parts |
///
/// A minimal example, for a custom batch with a weight for each sample:
///
///     [](const auto&, const auto&, const auto& batch) { return batch.weight; }
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>

namespace retort {

/// A filter for these outputs and this batch.
template <class F, class StudentOutputs, class TeacherOutputs, class B>
concept SampleFilter =
    requires(const F& filter, const StudentOutputs& student, const TeacherOutputs& teacher, const B& batch) {
        { filter(student, teacher, batch) } -> std::same_as<at::Tensor>;
    };

namespace detail {

template <class F>
constexpr bool filter_needs_teacher() {
    if constexpr (requires { F::needs_teacher; }) {
        return F::needs_teacher;
    } else {
        return false;
    }
}
template <class F>
constexpr bool filter_needs_target() {
    if constexpr (requires { F::needs_target; }) {
        return F::needs_target;
    } else {
        return false;
    }
}

}  // namespace detail
}  // namespace retort
