// SPDX-License-Identifier: BSL-1.0
/// \file
/// Self-assessment by the distance to the nearest class.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/community/evidence.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// Options of `Mahalanobis`. The defaults are of this library.
struct MahalanobisOptions {
    /// What the sum of squares within the classes is divided by.
    enum class Divisor {
        samples,               ///< N: the authors' code, scikit-learn
        samples_less_1,        ///< N - 1: pytorch-ood
        samples_less_classes,  ///< N - classes: unbiased
    };
    /// How far the covariance S is drawn to its mean variance m: \f$ (1 - a) S + a m I \f$.
    enum class Shrinkage {
        none,
        fixed,        ///< a = `amount`
        ledoit_wolf,  ///< a of Ledoit and Wolf, 2004
        oracle,  ///< a of Chen, Wiesel, Eldar, Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", 2010
    };
    Space space = Space::features;
    Divisor divisor = Divisor::samples;
    Shrinkage shrinkage = Shrinkage::ledoit_wolf;
    double amount = 0.1;  ///< of `Shrinkage::fixed`, in [0, 1]
    /// Added to the diagonal: a direction in which own data do not vary makes what leaves it strange, and is not dropped as
    /// by a pseudo-inverse.
    double ridge = 1e-6;
    bool half = false;  ///< half the squared distance, as the authors and pytorch-ood store it
};

/// The squared Mahalanobis distance to the nearest class, with one covariance for all classes, in float64.
///
/// Formula: \f$ \min_k (x - \mu_k)^\top \Sigma^{-1} (x - \mu_k) \f$, one score per sample, larger is stranger. Samples
/// without labels are one class; a class without samples is left out.
/// Source: Lee, Lee, Lee, Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
/// Attacks", 2018 (their score is minus half of it).
class Mahalanobis {
  public:
    explicit Mahalanobis(const MahalanobisOptions& options = {}) : options_(options) { check(); }

    void check() const {
        using namespace ::retort::detail;
        check_range("Mahalanobis", "an amount of shrinkage", options_.amount, in_closed(0, 1));
        check_range("Mahalanobis", "a ridge", options_.ridge, at_least(0));
    }
    /// \throws ShapeError if samples and targets do not match; DataError if the covariance is singular (a ridge of 0)
    void fit(const Evidence& own) {
        const at::NoGradGuard no_grad;
        const at::Tensor x = detail::rows_of(own, options_.space, "Mahalanobis");
        const std::int64_t count = x.size(0);
        const std::int64_t width = x.size(1);
        if (own.target.defined() &&
            (own.target.dim() != 1 || own.target.size(0) != count || own.target.scalar_type() != at::kLong)) {
            throw ShapeError(::retort::detail::concat("Mahalanobis: expected ", count,
                                                      " targets of type int64, found ",
                                                      ::retort::detail::shape_text(own.target)));
        }
        at::Tensor centered = x.clone();
        std::vector<at::Tensor> means;
        if (own.target.defined()) {
            const at::Tensor target = own.target.to(x.device());
            const auto classes = target.max().item<std::int64_t>() + 1;
            for (std::int64_t k = 0; k < classes; ++k) {
                const at::Tensor rows = target.eq(k).nonzero().squeeze(1);
                if (rows.numel() == 0) continue;
                means.push_back(x.index_select(0, rows).mean(0));
                centered.index_add_(0, rows, -means.back().expand({rows.numel(), width}));
            }
        } else {
            means.push_back(x.mean(0));
            centered.sub_(means.back());
        }
        const auto samples = static_cast<double>(count);
        const double divisor = options_.divisor == MahalanobisOptions::Divisor::samples ? samples
                               : options_.divisor == MahalanobisOptions::Divisor::samples_less_1
                                   ? samples - 1
                                   : samples - static_cast<double>(means.size());
        const at::Tensor squares = at::matmul(centered.t(), centered);
        shrinkage_ = amount_of(centered, squares);
        const at::Tensor identity = at::eye(width, x.options());
        at::Tensor covariance = squares / std::max(divisor, 1.0);
        const double variance = covariance.diagonal().mean().item<double>();
        covariance = covariance * (1 - shrinkage_) + identity * (shrinkage_ * variance + options_.ridge);
        try {
            factor_ = at::linalg_cholesky(covariance);
        } catch (const c10::Error&) {
            throw DataError(::retort::detail::concat(
                "Mahalanobis: expected a regular covariance of the ", width, " values of ", count,
                " samples, found a singular one: take a ridge above ", options_.ridge));
        }
        means_ = at::stack(means);
    }
    /// \throws ConfigError before `fit`; ShapeError if the samples are of another width
    at::Tensor score(const Evidence& evidence) const {
        const at::NoGradGuard no_grad;
        if (!means_.defined()) throw ConfigError("Mahalanobis: expected fit before score");
        const at::Tensor x = detail::rows_of(evidence, options_.space, "Mahalanobis");
        if (x.size(1) != means_.size(1)) {
            throw ShapeError(::retort::detail::concat("Mahalanobis: expected samples of ", means_.size(1),
                                                      " values, as it was fitted to, found ", x.size(1)));
        }
        // |L^-1 (x - mu)|^2 with L L^T the covariance.
        const auto whiten = [&](const at::Tensor& rows) {
            return at::linalg_solve_triangular(factor_.to(x.device()), rows.t(), /*upper=*/false).t();
        };
        const at::Tensor white = whiten(x);
        const at::Tensor centers = whiten(means_.to(x.device()));
        std::vector<at::Tensor> distances;
        for (std::int64_t k = 0; k < centers.size(0); ++k)
            distances.push_back((white - centers[k]).square().sum(1));
        const at::Tensor nearest = at::stack(distances).amin(0);
        return options_.half ? nearest / 2 : nearest;
    }
    /// How far the covariance was drawn to its mean variance.
    double shrinkage() const { return shrinkage_; }

    void checkpoint(Archive& archive) {
        archive("means", means_);
        archive("factor", factor_);
        archive("shrinkage", shrinkage_);
    }
    static std::string name() { return "mahalanobis"; }

  private:
    double amount_of(const at::Tensor& centered, const at::Tensor& squares) const {
        using Shrinkage = MahalanobisOptions::Shrinkage;
        const auto n = static_cast<double>(centered.size(0));
        const auto p = static_cast<double>(centered.size(1));
        const at::Tensor covariance = squares / n;
        const double mean = covariance.diagonal().mean().item<double>();
        switch (options_.shrinkage) {
            case Shrinkage::none:
                return 0;
            case Shrinkage::fixed:
                return options_.amount;
            case Shrinkage::ledoit_wolf: {
                // sum of squares of x_i^2' x_j^2 over samples, over all pairs of values
                const double fourth = centered.square().sum(1).square().sum().item<double>();
                const double norm = covariance.square().sum().item<double>();
                const double delta = (norm - p * mean * mean) / p;
                const double beta = std::min((fourth / n - norm) / (p * n), delta);
                return beta > 0 ? beta / delta : 0;
            }
            case Shrinkage::oracle: {
                const double alpha = covariance.square().mean().item<double>();
                const double denominator = (n + 1) * (alpha - mean * mean / p);
                return denominator > 0 ? std::min((alpha + mean * mean) / denominator, 1.0) : 1;
            }
        }
        return 0;
    }

    MahalanobisOptions options_;
    at::Tensor means_;   // [classes, values]
    at::Tensor factor_;  // [values, values], lower triangular
    double shrinkage_ = 0;
};

}  // namespace retort::community
