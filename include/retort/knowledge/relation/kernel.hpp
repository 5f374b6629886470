// SPDX-License-Identifier: BSL-1.0
/// \file
/// Kernels: how alike two samples are in a feature space.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>

#include <cmath>
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

/// The logarithms of a kernel for all pairs of rows: [batch, batch]. All finite.
inline at::Tensor log_similarities(const at::Tensor& rows, const Kernel& kernel) {
    if (kernel.kind == Kernel::Kind::cosine) {
        const at::Tensor unit =
            rows / (at::linalg_vector_norm(rows, 2, at::IntArrayRef({1}), /*keepdim=*/true) + kernel.epsilon);
        // Opposite rows may reach 0, and through rounding fall below.
        return (at::mm(unit, unit.t()) + 1).mul(0.5).clamp_min(1e-12).log();
    }
    const at::Tensor squares = squared_distances(rows) + 1e-6;
    switch (kernel.kind) {
        case Kernel::Kind::student_t:
            return -at::log1p(kernel.degree == 2 ? squares : squares.pow(kernel.degree / 2));
        case Kernel::Kind::rbf:
            return squares.sqrt() / -kernel.sigma;
        case Kernel::Kind::adaptive_rbf: {
            const at::Tensor distances = squares.sqrt();
            return -distances / constant(distances).mean();
        }
        case Kernel::Kind::cauchy:
        case Kernel::Kind::cosine:
            break;
    }
    return -at::log1p(squares / (kernel.sigma * kernel.sigma));
}

/// The logarithms of the probabilities that a sample (row) takes each sample for its neighbour.
inline at::Tensor log_neighbours(const at::Tensor& rows, const Kernel& kernel) {
    return at::log_softmax(log_similarities(rows, kernel), 1);
}

}  // namespace detail
}  // namespace retort
