// SPDX-License-Identifier: BSL-1.0
/// \file
/// The precisions of trainers and cohorts.
///
/// A precision is a type with
///
/// | expression | meaning |
/// |---|---|
/// | `P::type` | required; an `at::ScalarType`: the type of autocast in the networks' forward; `at::kFloat`: no autocast |
/// | `p.scaler` | optional; `GradientScalerOptions`: losses are scaled, and steps whose gradients overflow are skipped |
///
///     retort::Trainer trainer{student, teacher, knowledge, schedule, optimizer, retort::Bfloat16{}};
///     retort::Cohort cohort{retort::Bfloat16{}, retort::Learner{a, sgd}, retort::Learner{b, sgd}};
///
/// Student and teacher, or all learners, run under LibTorch's autocast: convolutions and matrix products compute in
/// that type; parameters, gradients and the optimizer stay in float32. The outputs of the networks are
/// converted to float32, in which the losses and their learnable parts compute. Outputs are tensors, containers
/// of them, and aggregates of up to 16 such members. `evaluate` measures without autocast.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <torch/version.h>

#include <concepts>
#include <optional>
#include <string_view>
#include <type_traits>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/compat.hpp>
#include <retort/detail/detached.hpp>
#include <retort/trainer/detail/autocast.hpp>
#include <retort/trainer/gradient_scaler.hpp>

namespace retort {

/// Everything in the types of the networks' parameters: the default.
struct Float32 {
    static constexpr at::ScalarType type = at::kFloat;
};

/// Forward passes in bfloat16, on CPUs and CUDA devices. It has the range of float32, and needs no scaling.
struct Bfloat16 {
    static constexpr at::ScalarType type = at::kBFloat16;
};

/// Forward passes in float16, on CUDA devices, with LibTorch 2.6 or later also on CPUs, with scaled losses. Each step
/// then waits for the device once (see `GradientScaler::unscale`).
struct Float16 {
    static constexpr at::ScalarType type = at::kHalf;
    GradientScalerOptions scaler{};
};

/// A precision of a trainer or a cohort.
template <class P>
concept Precision = requires {
    { P::type } -> std::convertible_to<at::ScalarType>;
};

namespace detail {

template <class P>
constexpr bool scales_losses = requires(const P& precision) { precision.scaler; };
template <class P>
constexpr bool casts_forward = P::type != at::kFloat;

/// The scaler of a precision, or nothing.
template <class P>
std::optional<GradientScaler> scaler_of(const P& precision) {
    if constexpr (scales_losses<P>) {
        return GradientScaler(precision.scaler);
    } else {
        return std::nullopt;
    }
}

/// \param who the name in errors
/// \throws ConfigError if the device does not support the precision
template <class P>
void check_precision(const at::Device& device, std::string_view who) {
    if (P::type == at::kHalf && device.is_cpu() && !compat::float16_on_cpu) {
        throw ConfigError(concat("Float16: expected ", who,
                                 " on a CUDA device, or LibTorch 2.6 or later, found cpu and LibTorch ",
                                 TORCH_VERSION, "; Bfloat16 works there"));
    }
}

/// The result of `forward()`, computed in this precision and converted to float32; without autocast a plain call.
template <class P, class Forward>
auto in_precision([[maybe_unused]] at::DeviceType device, Forward&& forward) {
    if constexpr (casts_forward<P>) {
        auto outputs = [&] {
            const Autocast cast(device, P::type);
            return forward();
        }();
        change_tensors(outputs, Widen{});
        return outputs;
    } else {
        return forward();
    }
}

}  // namespace detail
}  // namespace retort
