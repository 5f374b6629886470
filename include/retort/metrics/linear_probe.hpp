// SPDX-License-Identifier: BSL-1.0
/// \file
/// A linear classifier on fixed features.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_unique2.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <torch/optim/lbfgs.h>

#include <cmath>
#include <cstdint>
#include <tuple>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/metrics/features.hpp>

namespace retort::metrics {

/// Options of `LinearProbe`.
struct LinearProbeOptions {
    double l2 = 1e-4;               ///< \f$ \lambda \f$; at least 0
    std::int64_t iterations = 100;  ///< maximum number of L-BFGS iterations; at least 1
    double tolerance = 1e-5;        ///< stops when no element of the gradient is larger; at least 0
};

/// Multinomial logistic regression on fixed features (Alain, Bengio, "Understanding intermediate layers using linear
/// classifier probes", 2016): how much about the classes can be read linearly from a layer.
///
///     const double accuracy = metrics::LinearProbe{gallery}.accuracy(queries);
///
/// Minimizes \f$ \mathrm{mean}_i \, \mathrm{CE}(W x_i + b, y_i) + \frac\lambda2 \|W\|^2 \f$ with L-BFGS from zeros,
/// without random numbers; x are the features standardized to mean 0 and deviation 1 over the gallery (a feature that
/// is constant there becomes 0). The default of \f$ \lambda \f$ is this library's choice.
class LinearProbe {
  public:
    /// \throws ShapeError, DataError if the gallery does not hold features; ConfigError if an option is out of range
    explicit LinearProbe(const Features& gallery, LinearProbeOptions options = {})
        : gallery_(detail::matrix("LinearProbe", "gallery", gallery)) {
        if (!(options.l2 >= 0 && std::isfinite(options.l2)) || options.iterations < 1 ||
            !(options.tolerance >= 0)) {
            throw ConfigError(::retort::detail::concat(
                "LinearProbe: expected l2 and tolerance of at least 0 and at least 1 iteration, found ",
                options.l2, ", ", options.tolerance, " and ", options.iterations));
        }
        fit(options);
        gallery_.values = mean_.unsqueeze(0);  // only its width and type are needed from here on
    }
    /// The predicted classes: [samples], int64.
    /// \throws ShapeError, DataError if these are not features of the gallery's width
    at::Tensor predict(const Features& queries) const {
        const at::NoGradGuard no_grad;
        return predicted(detail::queries_for("LinearProbe", gallery_, queries).values);
    }
    /// The fraction of queries classified correctly, from 0 to 1.
    double accuracy(const Features& queries) const {
        const at::NoGradGuard no_grad;
        const Features asked = detail::queries_for("LinearProbe", gallery_, queries);
        return predicted(asked.values).eq(asked.target).to(at::kDouble).mean().item<double>();
    }
    /// The final value of the objective.
    double loss() const { return loss_; }

  private:
    void fit(const LinearProbeOptions& options) {
        at::Tensor place, inputs;
        {
            const at::NoGradGuard no_grad;
            at::Tensor members;
            std::tie(classes_, place, members) =
                at::_unique2(gallery_.target, /*sorted=*/true, /*return_inverse=*/true);
            mean_ = gallery_.values.mean(0);
            scale_ = gallery_.values.std(at::IntArrayRef({0}), /*unbiased=*/false);
            // Features that differ by rounding only count as constant.
            const double least = gallery_.values.scalar_type() == at::kDouble ? 1e-12 : 1e-6;
            scale_ = scale_.masked_fill(scale_ <= mean_.abs() * least, HUGE_VAL);
            inputs = (gallery_.values - mean_) / scale_;
            weight_ = at::zeros({inputs.size(1), classes_.size(0)}, inputs.options());
            bias_ = at::zeros({classes_.size(0)}, inputs.options());
        }
        const at::AutoGradMode with_gradient(true);
        weight_.requires_grad_();
        bias_.requires_grad_();
        torch::optim::LBFGS optimizer({weight_, bias_}, torch::optim::LBFGSOptions(1.0)
                                                            .max_iter(options.iterations)
                                                            .tolerance_grad(options.tolerance)
                                                            .tolerance_change(1e-12)
                                                            .line_search_fn("strong_wolfe"));
        optimizer.step([&] {
            optimizer.zero_grad();
            at::Tensor loss = at::cross_entropy_loss(at::addmm(bias_, inputs, weight_), place) +
                              weight_.square().sum() * (options.l2 / 2);
            loss.backward();
            loss_ = loss.item<double>();
            return loss;
        });
        const at::NoGradGuard no_grad;
        weight_ = weight_.detach();
        bias_ = bias_.detach();
        loss_ = (at::cross_entropy_loss(at::addmm(bias_, inputs, weight_), place) +
                 weight_.square().sum() * (options.l2 / 2))
                    .item<double>();
    }
    at::Tensor predicted(const at::Tensor& values) const {
        return at::index_select(classes_, 0, at::addmm(bias_, (values - mean_) / scale_, weight_).argmax(1));
    }

    Features gallery_;
    at::Tensor classes_, mean_, scale_, weight_, bias_;
    double loss_ = 0;
};

}  // namespace retort::metrics
