// SPDX-License-Identifier: BSL-1.0
/// \file
/// Kernels: similarities of samples in a feature space.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <string_view>

#include <retort/core/error.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/products.hpp>
#include <retort/detail/relations.hpp>
#include <retort/knowledge/detail/known_gradient.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// The similarity of two samples in a feature space, above 0.
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

    /// \throws ConfigError
    void check(std::string_view where) const {
        detail::check_range(where, "a degree", degree, detail::above(0));
        detail::check_range(where, "a sigma", sigma, detail::above(0));
        detail::check_range(where, "an epsilon", epsilon, detail::above(0));
    }
    friend bool operator==(const Kernel&, const Kernel&) = default;
};

namespace detail {

/// The probabilities of each sample as the neighbor of a sample (row), and optionally their logarithms.
struct Neighbors {
    at::Tensor probability, logarithm;
};

/// Whether a kernel is computed in log space, as its values would underflow.
inline bool is_logarithmic(const Kernel& kernel) {
    return kernel.kind == Kernel::Kind::rbf || kernel.kind == Kernel::Kind::adaptive_rbf;
}

/// The squared distances of all pairs of rows, plus 1e-6. A sample has distance 0 to itself, regardless of rounding,
/// which the root of 1e-6 would amplify.
inline at::Tensor kernel_squares(const at::Tensor& rows) {
    const at::Tensor itself = at::eye(rows.size(0), rows.options().dtype(at::kBool));
    return squared_distances(rows).masked_fill(itself, 0).add_(1e-6);
}

/// A kernel that is not in log space: [batch, batch], above 0.
inline at::Tensor similarities(const at::Tensor& rows, const Kernel& kernel) {
    if (kernel.kind == Kernel::Kind::cosine) {
        const at::Tensor lengths = at::linalg_vector_norm(rows, 2, at::IntArrayRef({1}), /*keepdim=*/true);
        // Half the cosines. Opposite rows may reach 0, or fall below by rounding.
        return gram(rows / ((lengths + kernel.epsilon) * std::numbers::sqrt2)).add_(0.5).clamp_min(1e-12);
    }
    const at::Tensor squares = kernel_squares(rows);
    if (kernel.kind == Kernel::Kind::cauchy) {
        return (squares / (kernel.sigma * kernel.sigma) + 1).reciprocal().clamp_min(1e-30);
    }
    const at::Tensor powers = kernel.degree == 2   ? squares
                              : kernel.degree == 1 ? squares.sqrt()
                                                   : squares.pow(kernel.degree / 2);
    const at::Tensor result = (powers + 1).reciprocal();
    return kernel.degree > 2 ? result.clamp_min(1e-30) : result;  // large powers underflow
}

/// The probabilities of similarities, [batch, batch].
/// \param self the mask of self-similarities, which do not count; may be undefined
inline Neighbors neighbors_of(const at::Tensor& values, bool with_logarithm, const at::Tensor& self = {}) {
    const auto without_self = [&](const at::Tensor& each, double value) {
        return self.defined() ? each.masked_fill(self, value) : each;
    };
    const at::Tensor counted = without_self(values, 0);
    Neighbors result{counted / counted.sum(1, /*keepdim=*/true), {}};
    // The logarithm of 1 instead of that of 0, whose derivative is infinite.
    if (with_logarithm) result.logarithm = without_self(result.probability, 1).log();
    return result;
}

/// \param diagonal whether a sample counts as its own neighbor; if not, both are 0 there. In a batch of one it always
/// does.
inline Neighbors neighbors(const at::Tensor& rows, const Kernel& kernel, bool with_logarithm,
                           bool diagonal = true) {
    at::Tensor self;
    if (!diagonal && rows.size(0) > 1) self = at::eye(rows.size(0), rows.options().dtype(at::kBool));
    if (!is_logarithmic(kernel)) return neighbors_of(similarities(rows, kernel), with_logarithm, self);
    const at::Tensor distances = kernel_squares(rows).sqrt();
    at::Tensor values = kernel.kind == Kernel::Kind::rbf ? distances / -kernel.sigma
                                                         : -distances / constant(distances).mean();
    if (self.defined()) values = values.masked_fill(self, -std::numeric_limits<double>::infinity());
    const at::Tensor logarithm = at::log_softmax(values, 1);
    return {logarithm.exp(), self.defined() ? logarithm.masked_fill(self, 0) : logarithm};
}

/// A divergence of probabilities q, computed from `values` by normalizing their rows, reduced as by `reduce`.
/// \param divergence `Tensor divergence(Neighbors)`, elementwise, in differentiable operators
/// \param slope `Tensor slope(Neighbors)`, its derivative with respect to q, up to a constant per row
/// \param with_logarithm whether they need the logarithms of q
template <class Divergence, class Slope>
at::Tensor neighbor_divergence(const at::Tensor& values, bool with_logarithm, Reduction reduction,
                               const Divergence& divergence, const Slope& slope) {
    const auto reduced = [divergence, with_logarithm, reduction](const at::Tensor& input) {
        return reduce(divergence(neighbors_of(input, with_logarithm)), reduction);
    };
    return with_known_gradient(
        values,
        [&](bool with_gradient) {
            const at::Tensor sums = values.sum(1, /*keepdim=*/true);
            Neighbors own{values / sums, {}};
            if (with_logarithm) own.logarithm = own.probability.log();
            ValueAndGradient result{reduce(divergence(own), reduction), {}};
            if (with_gradient) {
                at::Tensor by_own = slope(own);
                result.gradient = by_own.sub_((by_own * own.probability).sum(1, /*keepdim=*/true)).div_(sums);
                const auto batch = static_cast<double>(values.size(0));
                if (reduction != Reduction::sum) result.scale /= batch;
                if (reduction == Reduction::mean) result.scale /= batch;
            }
            return result;
        },
        reduced);
}

}  // namespace detail
}  // namespace retort
