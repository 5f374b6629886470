// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by losses on logits: checks, log-probabilities, reductions.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>

#include <cstdint>
#include <string_view>

#include <retort/core/logits.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>

namespace retort::detail {

/// Logits of both sides, [batch, classes] and equal, in one type.
inline TensorPair logit_pair(std::string_view where, const at::Tensor& student, const at::Tensor& teacher) {
    check_logits(where, "the student's logits", student);
    check_logits(where, "the teacher's logits", teacher);
    check_alike(where, "the student's logits", student, "the teacher's logits", teacher);
    return in_one_type(student, teacher);
}

inline void check_temperature(std::string_view who, double temperature) {
    check_range(who, "a temperature", temperature, above(0));
}

/// A loss on the non-target classes needs at least one.
inline void check_two_classes(std::string_view where, const at::Tensor& logits) {
    if (logits.size(1) < 2) {
        throw ShapeError(
            concat(where, ": expected logits of at least 2 classes, found shape ", shape_text(logits)));
    }
}

/// Targets are class indices of shape [batch], or probabilities of the shape of the logits. Whether they are indices.
inline bool targets_are_indices(std::string_view where, const at::Tensor& target, const at::Tensor& logits) {
    check_defined(where, "targets", target);
    check_same_device(where, "logits", logits, "targets", target);
    if (target.dim() == 1 && target.scalar_type() == at::kLong && target.size(0) == logits.size(0)) {
        return true;
    }
    if (target.sizes() == logits.sizes() && target.is_floating_point()) return false;
    throw ShapeError(
        concat(where, ": expected targets of shape [", logits.size(0),
               "] and type Long, or of the shape of the logits and a floating-point type; found ",
               shape_text(target), " and ", target.scalar_type()));
}

/// The targets as class indices of shape [batch]: unchanged, or the most probable of probabilities.
inline at::Tensor class_indices(std::string_view where, const at::Tensor& target, const at::Tensor& logits) {
    return targets_are_indices(where, target, logits) ? target : target.argmax(1);
}

/// \f$ \log \sigma(z / T) \f$, at least in float32.
inline at::Tensor log_probabilities(const at::Tensor& logits, double temperature) {
    const at::Tensor scores = at_least_float32(logits);
    return at::log_softmax(temperature == 1.0 ? scores : scores / temperature, 1);
}

/// The logits among the outputs of the student or of the teacher, for the term `Term`, which the compiler names if
/// there are none.
template <class Term, class Outputs>
decltype(auto) student_logits(const Outputs& outputs) {
    static_assert(
        HasLogits<Outputs>,
        "retort: a term needs the student's logits: the student's outputs have no member `logits`, and there "
        "is no function logits(outputs) in the namespace of their type");
    return logits(outputs);
}
template <class Term, class Outputs>
decltype(auto) teacher_logits(const Outputs& outputs) {
    static_assert(
        HasLogits<Outputs>,
        "retort: a term needs the teacher's logits: the teacher's outputs have no member `logits`, and there "
        "is no function logits(outputs) in the namespace of their type");
    return logits(outputs);
}

}  // namespace retort::detail
