// SPDX-License-Identifier: BSL-1.0
/// \file
/// A linear classifier on features that stay as they are.
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
    std::int64_t iterations = 100;  ///< at most so many of L-BFGS; at least 1
    double tolerance = 1e-5;        ///< stops where no element of the gradient is larger; at least 0
};

/// Multinomial logistic regression on features that stay as they are (Alain, Bengio, "Understanding
/// intermediate layers using linear classifier probes", 2016): how much about the classes can be read from a
/// layer by a linear map.
///
///     const double accuracy = metrics::LinearProbe{database}.accuracy(queries);
///
/// Minimizes \f$ \mathrm{mean}_i \, \mathrm{CE}(W x_i + b, y_i) + \frac\lambda2 \|W\|^2 \f$ with L-BFGS from
/// zeros, without random numbers; x are the features shifted and scaled to mean 0 and deviation 1 over the
/// database (a feature that is constant there is 0). The default of \f$ \lambda \f$ is this library's own.
class LinearProbe {
  public:
    /// \throws ShapeError, DataError if the database is no set of features; ConfigError for options out of
    /// range
    explicit LinearProbe(const Features& database, LinearProbeOptions options = {})
        : database_(detail::matrix("LinearProbe", "database", database)) {
        if (!(options.l2 >= 0 && std::isfinite(options.l2)) || options.iterations < 1 ||
            !(options.tolerance >= 0)) {
            throw ConfigError(::retort::detail::concat(
                "LinearProbe: expected l2 and tolerance of at least 0 and at least 1 iteration, found ",
                options.l2, ", ", options.tolerance, " and ", options.iterations));
        }
        fit(options);
        database_.values = mean_.unsqueeze(0);  // its width and type are all that is needed from here on
    }
    /// The classes of these features: [samples], int64.
    /// \throws ShapeError, DataError if these are no features of the database's width
    at::Tensor predict(const Features& queries) const {
        const at::NoGradGuard no_grad;
        return predicted(detail::queries_for("LinearProbe", database_, queries).values);
    }
    /// The share of the queries whose class is found, from 0 to 1.
    double accuracy(const Features& queries) const {
        const at::NoGradGuard no_grad;
        const Features asked = detail::queries_for("LinearProbe", database_, queries);
        return predicted(asked.values).eq(asked.target).to(at::kDouble).mean().item<double>();
    }
    /// What was minimized, at its end.
    double loss() const { return loss_; }

  private:
    void fit(const LinearProbeOptions& options) {
        at::Tensor place, inputs;
        {
            const at::NoGradGuard no_grad;
            at::Tensor members;
            std::tie(classes_, place, members) =
                at::_unique2(database_.target, /*sorted=*/true, /*return_inverse=*/true);
            mean_ = database_.values.mean(0);
            scale_ = database_.values.std(at::IntArrayRef({0}), /*unbiased=*/false);
            // What differs by rounding alone is constant.
            const double least = database_.values.scalar_type() == at::kDouble ? 1e-12 : 1e-6;
            scale_ = scale_.masked_fill(scale_ <= mean_.abs() * least, HUGE_VAL);
            inputs = (database_.values - mean_) / scale_;
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

    Features database_;
    at::Tensor classes_, mean_, scale_, weight_, bias_;
    double loss_ = 0;
};

}  // namespace retort::metrics
