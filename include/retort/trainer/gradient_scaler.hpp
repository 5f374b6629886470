// SPDX-License-Identifier: BSL-1.0
/// \file
/// Loss scaling for float16.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>

namespace retort {

/// Options of `GradientScaler`. The defaults are those of Python's `torch.cuda.amp.GradScaler`.
struct GradientScalerOptions {
    double initial = 65536.0;      ///< initial scale; above 0
    double growth = 2.0;           ///< factor of the scale after `interval` consecutive good steps; above 1
    double backoff = 0.5;          ///< factor of the scale after a step whose gradients overflowed; in (0, 1)
    std::int64_t interval = 2000;  ///< at least 1
};

/// Scales the loss, so that small gradients do not underflow in float16, and unscales the gradients; skips steps in
/// which they overflow, and adapts the scale accordingly.
///
/// Source: Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2; the dynamic scale as in Python's
/// torch.
///
/// `Trainer` and `Cohort` use it with `Float16`. In a custom loop:
///
///     scaler.scale(loss).backward();
///     if (scaler.unscale(parameters)) optimizer.step();
class GradientScaler {
  public:
    /// \throws ConfigError if an option is out of range
    explicit GradientScaler(const GradientScalerOptions& options = {})
        : options_(options), scale_(options.initial) {
        const bool fine = options.initial > 0 && std::isfinite(options.initial) && options.growth > 1 &&
                          std::isfinite(options.growth) && options.backoff > 0 && options.backoff < 1 &&
                          options.interval >= 1;
        if (!fine) {
            throw ConfigError(detail::concat(
                "GradientScaler: expected an initial scale above 0, a growth above 1, a backoff in (0, 1) "
                "and an interval of at least 1, found ",
                options.initial, ", ", options.growth, ", ", options.backoff, " and ", options.interval));
        }
    }

    double factor() const { return scale_; }
    at::Tensor scale(const at::Tensor& loss) const { return loss * scale_; }
    /// Divides the gradients by the scale, and adapts the scale. Waits for the device once: the host decides whether
    /// to skip the step. Waits twice if the sum of all squares is not finite, to inspect the gradients themselves.
    /// \returns whether all gradients are finite and the step should be made
    bool unscale(const std::vector<at::Tensor>& parameters) {
        const at::NoGradGuard no_grad;
        const std::vector<at::Tensor> gradients = detail::gradients_of(parameters);
        bool finite = true;
        if (!gradients.empty()) {
            at::_foreach_mul_(gradients, 1 / scale_);
            // Infinity or NaN in any gradient shows in the sum of all squares; but large finite gradients can make the
            // sum infinite, too: then the largest element decides.
            const auto largest_is_finite = [&] {
                return std::isfinite(
                    at::stack(at::_foreach_norm(gradients, std::numeric_limits<double>::infinity()))
                        .max()
                        .item<double>());
            };
            finite = std::isfinite(at::stack(at::_foreach_norm(gradients)).norm().item<double>()) ||
                     largest_is_finite();
        }
        if (!finite) {
            scale_ *= options_.backoff;
            good_ = 0;
        } else if (++good_ == options_.interval) {
            const double grown = scale_ * options_.growth;
            if (std::isfinite(static_cast<float>(grown))) scale_ = grown;
            good_ = 0;
        }
        return finite;
    }
    /// The number of good steps since the scale changed.
    std::int64_t good_steps() const { return good_; }
    /// Stores or restores the scale.
    void checkpoint(Archive& archive) {
        archive("scale", scale_);
        archive("good", good_);
    }

  private:
    GradientScalerOptions options_;
    double scale_;
    std::int64_t good_ = 0;
};

}  // namespace retort
