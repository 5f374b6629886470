// SPDX-License-Identifier: BSL-1.0
/// \file
/// How much information about the classes a layer contains, as one number.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_unique2.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstdint>
#include <tuple>

#include <retort/core/error.hpp>
#include <retort/detail/relations.hpp>
#include <retort/metrics/distance.hpp>
#include <retort/metrics/features.hpp>
#include <retort/metrics/nearest_centroid.hpp>

namespace retort::metrics {

/// How `information_content` estimates the mutual information of a feature F and the class Y.
enum class InformationEstimate {
    /// \f$ I(\hat Y; Y) \f$ in nats, where \f$ \hat Y \f$ is the class of the nearest centroid: at most I(F; Y) by
    /// the data-processing inequality. The centroids of one half of the samples classify the other half, and vice
    /// versa. Estimated from the frequencies of the pairs, which biases it upward by about (C - 1)^2 / (2 N). From 0
    /// to the entropy of the classes; comparable between layers of any width.
    nearest_centroid,
    /// Quadratic mutual information \f$ \sum_c p_c^2 \, \|m_c - m\|^2 / 2 \f$ with the class means m_c and the
    /// overall mean m of rows of unit length: that of Torkkola ("Feature extraction by non-parametric mutual
    /// information maximization", 2003, Eq. 13) with the cosine kernel (u v + 1) / 2 in place of a Gaussian, as in
    /// Passalis and Tefas, "Learning deep representations with probabilistic knowledge transfer", ECCV 2018. At least
    /// 0. Its scale differs between layers with different activations.
    quadratic,
    /// The fraction of the variance between classes, tr(S_b) / tr(S_t) (Fisher's criterion as a ratio). From 0 to 1.
    /// Its scale differs between layers of different width.
    separability,
};

/// Options of `information_content`.
struct InformationContentOptions {
    InformationEstimate estimate = InformationEstimate::nearest_centroid;
    Distance distance = Distance::cosine;  ///< of `nearest_centroid`
};

namespace detail {

/// The mutual information of a contingency table, in nats.
inline double mutual_information(const at::Tensor& counts) {
    const at::Tensor joint = counts.to(at::kDouble) / counts.sum();
    const at::Tensor apart = joint.sum(1, /*keepdim=*/true) * joint.sum(0, /*keepdim=*/true);
    return (joint * (joint / apart.clamp_min(1e-300)).clamp_min(1e-300).log()).sum().item<double>();
}

inline double centroid_information(const Features& features, Distance distance, const at::Tensor& classes,
                                   const at::Tensor& place, const at::Tensor& members) {
    using ::retort::detail::concat;
    if (members.min().item<std::int64_t>() < 2) {
        throw DataError(
            concat("information_content: expected at least 2 samples of each class, found 1 of class ",
                   classes.select(0, members.argmin().item<std::int64_t>()).item<std::int64_t>()));
    }
    // The halves alternate between the samples of each class.
    const at::Tensor order = at::argsort(place, /*stable=*/true, 0, false);
    const at::Tensor first = members.cumsum(0) - members;
    const at::Tensor number = at::arange(place.size(0), place.options()) -
                              at::index_select(first, 0, at::index_select(place, 0, order));
    at::Tensor table = at::zeros({classes.size(0) * classes.size(0)}, place.options());
    for (const std::int64_t half : {0, 1}) {
        const auto samples = [&](std::int64_t which) {
            const at::Tensor chosen = order.masked_select(number.remainder(2).eq(which));
            return Features{at::index_select(features.values, 0, chosen), at::index_select(place, 0, chosen)};
        };
        const Features asked = samples(1 - half);
        const at::Tensor said = NearestCentroid(samples(half), distance).predict(asked);
        const at::Tensor pair = said * classes.size(0) + asked.target;
        table = table.index_add(0, pair, pair.new_ones({pair.size(0)}));
    }
    return mutual_information(table.view({classes.size(0), classes.size(0)}));
}

}  // namespace detail

/// How much information the features contain about the classes: an estimate of their mutual information, the \f$ I(f,
/// Y) \f$ of information flow modeling. The paper's vectors are of this kind, but neither it nor its code computes
/// them; the estimates and the default are this library's choice.
/// \returns a number of at least 0
/// \throws ShapeError, DataError if these are not features, or a class has fewer than 2 samples (`nearest_centroid`)
inline double information_content(const Features& features, const InformationContentOptions& options = {}) {
    const c10::NoGradGuard no_grad;
    const Features own = detail::matrix("information_content", "samples", features);
    const auto [classes, place, members] =
        at::_unique2(own.target, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/true);
    if (options.estimate == InformationEstimate::nearest_centroid) {
        return detail::centroid_information(own, options.distance, classes, place, members);
    }
    const bool quadratic = options.estimate == InformationEstimate::quadratic;
    const at::Tensor rows =
        (quadratic ? ::retort::detail::unit_rows(own.values) : own.values).to(at::kDouble);
    const at::Tensor shares = members.to(at::kDouble) / own.size();
    const at::Tensor mean = rows.mean(0, /*keepdim=*/true);
    const at::Tensor means = at::zeros({classes.size(0), rows.size(1)}, rows.options())
                                 .index_add(0, place, rows - mean)
                                 .div_(members.unsqueeze(1));
    const at::Tensor squares = means.square().sum(1);
    if (quadratic) return (shares.square() * squares).sum().item<double>() / 2;
    const double all = (rows - mean).square().sum(1).mean().item<double>();
    return all > 0 ? (shares * squares).sum().item<double>() / all : 0.0;
}

}  // namespace retort::metrics
