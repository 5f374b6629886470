// SPDX-License-Identifier: BSL-1.0
/// \file
/// Kernels: how alike two samples are in a feature space.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>
#include <limits>
#include <string_view>

#include <retort/core/error.hpp>
#include <retort/detail/relations.hpp>

namespace retort {

/// How alike two samples are in a feature space, above 0.
///
/// | kind         | formula, with d the Euclidean distance and 1e-6 added to its square |
/// |--------------|---------------------------------------------------------------------|
/// | cosine       | (cos + 1) / 2                                                       |
/// | student_t    | 1 / (1 + d^degree)                                                  |
/// | rbf          | exp(-d / sigma)                                                     |
/// | adaptive_rbf | exp(-d / sigma), sigma the mean distance in the batch, a constant   |
/// | cauchy       | 1 / (1 + d^2 / sigma^2)                                             |
struct Kernel {
    enum class Kind { cosine, student_t, rbf, adaptive_rbf, cauchy };

    Kind kind = Kind::cosine;
    double degree = 1;      ///< of student_t; above 0
    double sigma = 1;       ///< of rbf and cauchy; above 0
    double epsilon = 1e-6;  ///< of cosine: added to the lengths; above 0

    ///
    /// \throws ConfigError
    void check(std::string_view where) const {
        if (!(degree > 0 && sigma > 0 && epsilon > 0 && std::isfinite(degree) && std::isfinite(sigma))) {
            throw ConfigError(detail::text(
                where, ": expected a kernel with degree, sigma and epsilon above 0, found degree ", degree,
                ", sigma ", sigma, ", epsilon ", epsilon));
        }
    }
    friend bool operator==(const Kernel&, const Kernel&) = default;
};

namespace detail {

/// The probabilities that a sample (row) takes each sample for its neighbour, and their logarithms where asked for.
struct Neighbours {
    at::Tensor probability, logarithm;
};

/// \param diagonal whether a sample counts as its own neighbour; where not, both are 0 there. A batch of one always does.
inline Neighbours neighbours(const at::Tensor& rows, const Kernel& kernel, bool with_logarithm,
                             bool diagonal = true) {
    at::Tensor self;
    if (!diagonal && rows.size(0) > 1) self = at::eye(rows.size(0), rows.options().dtype(at::kBool));
    const auto without_self = [&](const at::Tensor& values, double value) {
        return self.defined() ? values.masked_fill(self, value) : values;
    };
    at::Tensor similarities;
    if (kernel.kind == Kernel::Kind::cosine) {
        const at::Tensor unit =
            rows / (at::linalg_vector_norm(rows, 2, at::IntArrayRef({1}), /*keepdim=*/true) + kernel.epsilon);
        // Opposite rows may reach 0, and through rounding fall below.
        similarities =
            at::addmm(at::full({1, 1}, 0.5, rows.options().requires_grad(false)), unit, unit.t(), 1, 0.5)
                .clamp_min(1e-12);
    } else {
        // A sample is at no distance from itself, whatever rounding says: through the root of 1e-6 it would be amplified.
        const at::Tensor diagonal_mask =
            self.defined() ? self : at::eye(rows.size(0), rows.options().dtype(at::kBool));
        const at::Tensor squares = squared_distances(rows).masked_fill(diagonal_mask, 0).add_(1e-6);
        switch (kernel.kind) {
            case Kernel::Kind::student_t:
                similarities = ((kernel.degree == 2   ? squares
                                 : kernel.degree == 1 ? squares.sqrt()
                                                      : squares.pow(kernel.degree / 2)) +
                                1)
                                   .reciprocal();
                if (kernel.degree > 2)
                    similarities = similarities.clamp_min(1e-30);  // large powers underflow
                break;
            case Kernel::Kind::cauchy:
                similarities = (squares / (kernel.sigma * kernel.sigma) + 1).reciprocal().clamp_min(1e-30);
                break;
            case Kernel::Kind::rbf:
            case Kernel::Kind::adaptive_rbf:
            case Kernel::Kind::cosine: {
                // Exponentials of large distances underflow, so that these two stay logarithms.
                const at::Tensor distances = squares.sqrt();
                const at::Tensor logarithms = kernel.kind == Kernel::Kind::rbf
                                                  ? distances / -kernel.sigma
                                                  : -distances / constant(distances).mean();
                const at::Tensor logarithm =
                    at::log_softmax(without_self(logarithms, -std::numeric_limits<double>::infinity()), 1);
                return {logarithm.exp(), without_self(logarithm, 0)};
            }
        }
    }
    similarities = without_self(similarities, 0);
    Neighbours result{similarities / similarities.sum(1, /*keepdim=*/true), {}};
    // The logarithm of 1 in place of that of 0, whose derivative is infinite.
    if (with_logarithm) result.logarithm = without_self(result.probability, 1).log();
    return result;
}

}  // namespace detail
}  // namespace retort
