// SPDX-License-Identifier: BSL-1.0
/// \file
/// Diversity: different noise should give different outputs. For generators that replace private data of a teacher.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cdist.h>

#include <retort/detail/products.hpp>
#include <retort/detail/relations.hpp>

namespace retort {

/// Options of `functional::diversity`.
struct DiversityOptions {
    /// The distance of two outputs.
    enum class Distance {
        absolute,  ///< the mean absolute difference
        squared,   ///< the mean squared difference
        cosine,    ///< 1 - cosine
    };
    Distance distance = Distance::absolute;

    /// The released code of FedGen. The default.
    static DiversityOptions fed_gen() { return {}; }
};

namespace functional {

/// The similarity of outputs from different noise; to be minimized.
///
/// Formula: \f$ \exp\big( -\mathrm{mean}_{ij}\, \mathrm{mean}_k(\epsilon_{ik} - \epsilon_{jk})^2 \; d(z_i, z_j) \big)
/// \f$ with the noise \f$ \epsilon \f$, the outputs z and their distance d; the pairs i = j count. At most 1,
/// attained if all outputs are equal (there its gradient is 0).
/// Shapes: noise [batch, size], outputs [batch, ...].
/// Gradient: to the outputs; the noise is a constant. With `absolute`, first derivatives only.
/// Source: the authors' code of Zhu, Hong, Zhou, "Data-Free Knowledge Distillation for Heterogeneous Federated
/// Learning", ICML 2021, with weight 1.
/// \throws ShapeError if the batch sizes differ
inline at::Tensor diversity(const at::Tensor& noise, const at::Tensor& output,
                            const DiversityOptions& options = {}) {
    const at::Tensor sources = detail::rows("diversity", "the noise", detail::constant(noise));
    const at::Tensor results = detail::rows("diversity", "the outputs", output);
    if (noise.size(0) != output.size(0)) {
        throw ShapeError(detail::concat("diversity: expected noise and outputs of one batch, found ",
                                        detail::shape_text(noise), " and ", detail::shape_text(output)));
    }
    detail::check_same_device("diversity", "the noise", noise, "the outputs", output);
    const auto mean_of = [](const at::Tensor& sums, const at::Tensor& rows) {
        return sums / static_cast<double>(rows.size(1));
    };
    at::Tensor apart;
    switch (options.distance) {
        case DiversityOptions::Distance::absolute:
            apart = mean_of(at::cdist(results, results, 1), results);
            break;
        case DiversityOptions::Distance::squared:
            apart = mean_of(detail::squared_distances(results), results);
            break;
        case DiversityOptions::Distance::cosine:
            apart = 1 - detail::gram(detail::unit_rows(results, 2, 1e-8));
            break;
    }
    const at::Tensor noise_apart = mean_of(detail::squared_distances(sources), sources);
    return (-noise_apart * apart).mean().exp();
}

/// The similarity of the outputs of the two halves of a batch relative to that of their noise; to be minimized.
///
/// Formula: \f$ 1 / (\mathrm{mean} |z - z'| / \mathrm{mean} |\epsilon - \epsilon'| + \eta) \f$ with the first half of
/// the batch and the second; for an odd batch size the last sample is ignored. 0, without a gradient, where the noise of
/// both halves is equal (closer than 1e-12); \f$ 1 / \eta \f$, without a gradient, where the outputs are.
/// Shapes: noise [batch, ...], outputs [batch, ...], at least 2 samples.
/// Gradient: to the outputs; the noise is a constant.
/// Source: Mao, Lee, Tseng, Ma, Yang, "Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis", CVPR
/// 2019, in the form of FedGen's code.
/// \throws ConfigError if epsilon is not above 0; ShapeError if the batch sizes differ or are below 2
inline at::Tensor mode_seeking(const at::Tensor& noise, const at::Tensor& output, double epsilon = 1e-5) {
    detail::check_range("mode_seeking", "an epsilon", epsilon, detail::above(0));
    const at::Tensor sources = detail::rows("mode_seeking", "the noise", detail::constant(noise));
    const at::Tensor results = detail::rows("mode_seeking", "the outputs", output);
    const std::int64_t half = output.size(0) / 2;
    if (noise.size(0) != output.size(0) || half == 0) {
        throw ShapeError(detail::concat(
            "mode_seeking: expected noise and outputs of one batch of at least 2 samples, found ",
            detail::shape_text(noise), " and ", detail::shape_text(output)));
    }
    detail::check_same_device("mode_seeking", "the noise", noise, "the outputs", output);
    const auto apart = [half](const at::Tensor& rows) {
        return (rows.narrow(0, 0, half) - rows.narrow(0, half, half)).abs().mean();
    };
    // 1 / (z / s + epsilon) without a quotient that is infinite, or 0 / 0, for equal noise.
    const at::Tensor by_noise = apart(sources);
    const at::Tensor equal = by_noise < 1e-12;
    return by_noise.masked_fill(equal, 0) / (apart(results) + by_noise * epsilon).masked_fill(equal, 1);
}

}  // namespace functional
}  // namespace retort
