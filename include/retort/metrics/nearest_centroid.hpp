// SPDX-License-Identifier: BSL-1.0
/// \file
/// A classifier without parameters: the class with the nearest mean.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/_unique2.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include <retort/metrics/distance.hpp>
#include <retort/metrics/features.hpp>

namespace retort::metrics {

/// Classifies features by the nearest class mean. With `Distance::cosine` the means are those of rows of unit length.
/// Ties go to the lower class index.
///
///     const double accuracy = metrics::NearestCentroid{gallery, metrics::Distance::cosine}.accuracy(queries);
class NearestCentroid {
  public:
    /// \throws ShapeError, DataError if the gallery does not hold features
    explicit NearestCentroid(const Features& gallery, Distance distance = Distance::euclidean)
        : gallery_(detail::matrix("NearestCentroid", "gallery", gallery)) {
        const c10::NoGradGuard no_grad;
        at::Tensor place, members;
        std::tie(classes_, place, members) =
            at::_unique2(gallery_.target, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/true);
        const at::Tensor rows =
            distance == Distance::cosine ? ::retort::detail::unit_rows(gallery_.values) : gallery_.values;
        centroids_ = at::zeros({classes_.size(0), rows.size(1)}, rows.options())
                         .index_add(0, place, rows)
                         .div_(members.unsqueeze(1));
        places_ = detail::Places(centroids_, distance);
        gallery_.values = centroids_;  // only its width and type are needed from here on
    }
    /// The predicted classes: [samples], int64.
    /// \throws ShapeError, DataError if these are not features of the gallery's width
    at::Tensor predict(const Features& queries) const {
        const c10::NoGradGuard no_grad;
        return predicted(detail::queries_for("NearestCentroid", gallery_, queries).values);
    }
    /// The fraction of queries classified correctly, from 0 to 1. A class that does not occur in the gallery is never
    /// predicted.
    double accuracy(const Features& queries) const {
        const c10::NoGradGuard no_grad;
        const Features asked = detail::queries_for("NearestCentroid", gallery_, queries);
        return predicted(asked.values).eq(asked.target).to(at::kDouble).mean().item<double>();
    }
    /// The classes that occur, ascending, and their means: [classes, width].
    const at::Tensor& classes() const { return classes_; }
    const at::Tensor& centroids() const { return centroids_; }

  private:
    at::Tensor predicted(const at::Tensor& values) const {
        std::vector<at::Tensor> parts;
        const std::int64_t step = std::max<std::int64_t>(1, (std::int64_t{1} << 22) / classes_.size(0));
        for (std::int64_t start = 0; start < values.size(0); start += step) {
            const at::Tensor some = values.narrow(0, start, std::min(step, values.size(0) - start));
            parts.push_back(at::index_select(classes_, 0, places_.order(some).argmin(1)));
        }
        return at::cat(parts);
    }

    Features gallery_;
    at::Tensor classes_, centroids_;
    detail::Places places_;
};

}  // namespace retort::metrics
