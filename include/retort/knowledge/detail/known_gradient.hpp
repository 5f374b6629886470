// SPDX-License-Identifier: BSL-1.0
/// \file
/// Losses that compute their gradient along with their value, in few operators and in place, instead of leaving a
/// chain of intermediate tensors to autograd.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/graph_task.h>

#include <cstdint>
#include <functional>
#include <utility>

namespace retort::detail {

/// A loss, and if requested its gradient with respect to one tensor: for a loss per sample, [batch], the gradients of
/// the samples, [batch, ...].
struct ValueAndGradient {
    at::Tensor value;
    at::Tensor gradient;
    double scale = 1;  ///< a factor still to be applied to the gradient
};

/// A loss whose gradient is already computed: the backward pass scales it. For derivatives of the gradient the loss
/// is recomputed in differentiable operators.
class KnownGradientFunction : public torch::autograd::Function<KnownGradientFunction> {
  public:
    using Composition = std::function<at::Tensor(const at::Tensor&)>;

    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                              const ValueAndGradient& known, Composition composition) {
        context->save_for_backward({input, known.gradient});
        context->saved_data["composition"] =
            c10::IValue::make_capsule(c10::make_intrusive<Kept>(std::move(composition)));
        context->saved_data["scale"] = known.scale;
        return known.value;
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list incoming) {
        const auto saved = context->get_saved_variables();
        const at::Tensor& outer = incoming[0];
        if (at::GradMode::is_enabled()) {
            const auto kept =
                c10::static_intrusive_pointer_cast<Kept>(context->saved_data["composition"].toCapsule());
            const at::Tensor value = kept->composition(saved[0]);
            return {torch::autograd::grad({value}, {saved[0]}, {outer}, /*retain_graph=*/true,
                                          /*create_graph=*/true)[0],
                    {},
                    {}};
        }
        at::Tensor gradient = saved[1];
        const double scale = context->saved_data["scale"].toDouble();
        at::Tensor factor = scale == 1 ? outer : outer * scale;
        while (factor.dim() > 0 && factor.dim() < gradient.dim()) factor = factor.unsqueeze(-1);
        // In place if the unscaled gradient cannot be needed again.
        return {
            torch::autograd::get_current_graph_task_keep_graph() ? gradient * factor : gradient.mul_(factor),
            {},
            {}};
    }

  private:
    struct Kept : torch::CustomClassHolder {
        explicit Kept(Composition what) : composition(std::move(what)) {}
        Composition composition;
    };
};

/// A loss of `input` whose gradient is computed with it.
/// \param compute `ValueAndGradient compute(bool with_gradient)`, called without autograd. The gradient has the type
/// of the input, and its own memory.
/// \param composition `Tensor composition(input)`, the same loss in differentiable operators; called for second
/// derivatives only
template <class Compute, class Composition>
at::Tensor with_known_gradient(const at::Tensor& input, Compute&& compute, Composition&& composition) {
    const bool wanted = input.requires_grad() && at::GradMode::is_enabled();
    ValueAndGradient known;
    {
        const at::NoGradGuard no_gradient;
        known = compute(wanted);
    }
    if (!wanted) return known.value;
    return KnownGradientFunction::apply(
        input, known, KnownGradientFunction::Composition(std::forward<Composition>(composition)));
}

}  // namespace retort::detail
