// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by the tests of precision.
#pragma once

#include <retort_test.hpp>

#include <cstdint>
#include <memory>

#include <retort/trainer/gradient_scaler.hpp>

namespace retort_test {

/// Scaled like float16, computed in float32.
struct Scaled {
    static constexpr at::ScalarType type = at::kFloat;
    retort::GradientScalerOptions scaler{};
};

/// A loss whose gradient is NaN in one step, while its value is 0.
struct Broken {
    static constexpr bool needs_teacher = false, needs_target = false;
    std::shared_ptr<std::int64_t> calls = std::make_shared<std::int64_t>(0);
    std::int64_t when = -1;
    torch::Tensor operator()(const torch::Tensor& student, const auto&, const auto&) const {
        return (*calls)++ == when ? (student * 0).sum().sqrt() : (student * 0).sum();
    }
};

}  // namespace retort_test
