// SPDX-License-Identifier: BSL-1.0
/// \file
/// Distances between features.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <retort/detail/relations.hpp>

namespace retort::metrics {

/// A distance between features.
enum class Distance {
    cosine,     ///< \f$ 1 - u \cdot v / (\|u\| \|v\|) \f$; a row of zeros has distance 1 to all others
    euclidean,  ///< \f$ \|u - v\|_2 \f$
};

namespace detail {

/// The points to which distances are computed, prepared once: unit rows, or rows centered on their mean, which avoids
/// the cancellation in differences of large norms.
class Places {
  public:
    Places() = default;
    Places(const at::Tensor& rows, Distance distance) : distance_(distance) {
        if (distance == Distance::cosine) {
            rows_ = ::retort::detail::unit_rows(rows);
        } else {
            center_ = rows.mean(0, /*keepdim=*/true);
            rows_ = rows - center_;
            norms_ = rows_.square().sum(1);
        }
    }
    /// [queries, places]: for each query, values in the order of its distances to the points; terms that are equal
    /// for all points are omitted.
    at::Tensor order(const at::Tensor& queries) const {
        if (distance_ == Distance::cosine)
            return at::mm(::retort::detail::unit_rows(queries), rows_.t()).neg_();
        return at::addmm(norms_, queries - center_, rows_.t(), 1, -2);
    }

  private:
    Distance distance_ = Distance::cosine;
    at::Tensor rows_, center_, norms_;
};

}  // namespace detail
}  // namespace retort::metrics
