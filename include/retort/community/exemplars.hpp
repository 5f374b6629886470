// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which samples a bounded memory keeps.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// Options of `herding`. Published codes choose different samples of the same features.
struct HerdingOptions {
    enum class Normalize {
        none,      ///< features as they are (Avalanche)
        rows,      ///< features of length 1, and their mean (FACIL)
        and_mean,  ///< and the mean of length 1, too (continual-learning)
    };
    Normalize normalize = Normalize::none;
    /// The released code of iCaRL instead of the greedy algorithm of its paper: the residual of the mean is accumulated, and the
    /// sample with the largest inner product is next; up to `iterations`, so that fewer samples may be chosen.
    bool classical = false;
    std::int64_t iterations = 1000;
};

/// The samples whose mean is closest to the mean of all: chosen one after the other, each so that the mean of those chosen
/// comes closest to the mean of all; of equals the first.
/// \param features [samples, features] of one class
/// \param count how many; all samples if there are fewer
/// \returns their positions, in the order chosen (int64, on the CPU)
/// \throws ShapeError if the features are not of that shape
/// Source: Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning", 2017, algorithm 4.
inline at::Tensor herding(const at::Tensor& features, std::int64_t count,
                          const HerdingOptions& options = {}) {
    const at::NoGradGuard no_grad;
    if (!features.defined() || features.dim() != 2) {
        throw ShapeError(
            ::retort::detail::concat("herding: expected features of shape [samples, features], found ",
                                     features.defined() ? ::retort::detail::shape_text(features)
                                                        : std::string("an undefined tensor")));
    }
    at::Tensor x = features.to(at::kCPU, at::kDouble);
    const auto unit = [](const at::Tensor& rows) {
        return rows / rows.square().sum({-1}, true).sqrt().clamp_min(1e-12);
    };
    if (options.normalize != HerdingOptions::Normalize::none || options.classical) x = unit(x);
    at::Tensor mean = x.mean(0);
    if (options.normalize == HerdingOptions::Normalize::and_mean) mean = unit(mean);
    const std::int64_t samples = x.size(0);
    count = std::min(count, samples);
    std::vector<std::int64_t> chosen;
    std::vector<bool> taken(static_cast<std::size_t>(samples), false);
    const auto take = [&](std::int64_t i) {
        if (!taken[static_cast<std::size_t>(i)]) chosen.push_back(i);
        taken[static_cast<std::size_t>(i)] = true;
    };
    if (options.classical) {
        at::Tensor residual = mean.clone();
        for (std::int64_t step = 0;
             step < options.iterations && static_cast<std::int64_t>(chosen.size()) < count; ++step) {
            const auto next = at::mv(x, residual).argmax().item<std::int64_t>();
            take(next);
            residual = residual + mean - x[next];
        }
    } else {
        at::Tensor sum = at::zeros_like(mean);
        while (static_cast<std::int64_t>(chosen.size()) < count) {
            const at::Tensor distances =
                ((x + sum) / static_cast<double>(chosen.size() + 1) - mean).square().sum(1).contiguous();
            const auto* values = distances.data_ptr<double>();
            std::int64_t next = -1;
            for (std::int64_t i = 0; i < samples; ++i) {
                if (!taken[static_cast<std::size_t>(i)] && (next < 0 || values[i] < values[next])) next = i;
            }
            take(next);
            sum = sum + x[next];
        }
    }
    return at::tensor(chosen, at::TensorOptions(at::kLong));
}

/// Where reservoir sampling puts the next sample of a stream, so that all samples so far are in the memory with equal
/// probability (algorithm R).
/// \param seen how many samples came before
/// \param places of the memory
/// \param draw an integer in [0, seen], needed only if the memory is full
/// \returns the place, or -1: the sample is not kept
inline std::int64_t reservoir_place(std::int64_t seen, std::int64_t places, std::int64_t draw) {
    if (seen < places) return seen;
    return draw < places ? draw : -1;
}

/// How many places each of several groups gets: as even as possible, the first groups one more, and never more than there
/// are.
inline std::vector<std::int64_t> shares_of(std::int64_t places, std::int64_t groups) {
    std::vector<std::int64_t> result;
    for (std::int64_t i = 0; i < groups; ++i)
        result.push_back(places / groups + (i < places % groups ? 1 : 0));
    return result;
}

}  // namespace retort::community
