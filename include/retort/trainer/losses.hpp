// SPDX-License-Identifier: BSL-1.0
/// \file
/// The weighted sum of terms.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>

namespace retort {

/// The losses of one batch.
struct Losses {
    at::Tensor total{};  ///< the weighted sum; a tensor without dimensions. Undefined without a term
    std::vector<at::Tensor> terms{};  ///< each term before its weight; undefined if the weight is 0
    std::vector<double> weights{};    ///< the weight of each term

    /// Adds a term: `term()`, a tensor without dimensions. With weight 0 it is not computed, with weight 1 not
    /// multiplied.
    template <class Term>
    void add(double weight, Term&& term) {
        weights.push_back(weight);
        at::Tensor& value = terms.emplace_back();
        if (weight == 0) return;
        value = std::forward<Term>(term)();
        const at::Tensor weighted = weight == 1 ? value : value * weight;
        total = total.defined() ? total + weighted : weighted;
    }
};

namespace detail {

/// \param where the source of the weight
/// \param name the name of the term
/// \throws ConfigError if the weight is not finite
inline void check_finite_weight(std::string_view where, const std::string& name, double weight,
                                const Progress& progress) {
    if (!std::isfinite(weight)) {
        throw ConfigError(concat(where, ": expected a finite weight for ", name, " in epoch ", progress.epoch,
                                 ", step ", progress.step, ", found ", weight));
    }
}

}  // namespace detail
}  // namespace retort
