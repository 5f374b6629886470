// SPDX-License-Identifier: BSL-1.0
/// \file
/// Small operations on tensors that issue no operator if none is needed.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <c10/core/ScalarType.h>
#include <torch/csrc/autograd/custom_function.h>

namespace retort::detail {

/// A tensor as a constant of the loss. Teachers run without gradient, so that there is usually nothing to detach, and
/// `detach` is an operator.
inline at::Tensor constant(const at::Tensor& tensor) {
    return tensor.requires_grad() ? tensor.detach() : tensor;
}

/// The elements in CPU memory, row by row, to read their bytes. Lazy conjugation and negation are resolved.
inline at::Tensor in_memory(const at::Tensor& tensor) {
    at::Tensor result = constant(tensor);
    if (result.is_conj()) result = result.resolve_conj();
    if (result.is_neg()) result = result.resolve_neg();
    return result.cpu().contiguous();
}

/// A float16 tensor in a wider type, whose gradient may leave the range of float16: it is then the largest number there,
/// not an infinity. An infinite gradient stays one.
class WidenedFunction : public torch::autograd::Function<WidenedFunction> {
  public:
    static constexpr double most = 65504;

    static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& tensor,
                              at::ScalarType type) {
        return tensor.to(type);
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                   torch::autograd::variable_list incoming) {
        const at::Tensor& gradient = incoming[0];
        return {at::where(gradient.isinf(), gradient, gradient.clamp(-most, most)).to(at::kHalf), {}};
    }
};

/// The tensor in another floating type.
inline at::Tensor in_type(const at::Tensor& tensor, at::ScalarType type) {
    if (tensor.scalar_type() == type) return tensor;
    if (tensor.scalar_type() == at::kHalf && tensor.requires_grad() && at::GradMode::is_enabled())
        return WidenedFunction::apply(tensor, type);
    return tensor.to(type);
}

/// What a loss compares: a tensor of the student and one of the teacher.
struct TensorPair {
    at::Tensor student, teacher;
};

/// Both in the type that LibTorch promotes their floating types to: float32 with float64 is float64, float16 with
/// bfloat16 is float32. All losses follow this one rule; the gradient returns in the type of its tensor.
inline TensorPair in_one_type(const at::Tensor& student, const at::Tensor& teacher) {
    if (student.scalar_type() == teacher.scalar_type()) return {student, teacher};
    const at::ScalarType type = c10::promoteTypes(student.scalar_type(), teacher.scalar_type());
    return {in_type(student, type), in_type(teacher, type)};
}

/// The tensor in float32 if it is of a 16-bit type: exponentials and sums over classes lose too much precision
/// there.
inline at::Tensor at_least_float32(const at::Tensor& tensor) {
    const auto type = tensor.scalar_type();
    return type == at::kHalf || type == at::kBFloat16 ? in_type(tensor, at::kFloat) : tensor;
}

}  // namespace retort::detail
