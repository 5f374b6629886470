// SPDX-License-Identifier: BSL-1.0
/// \file
/// A classifier without parameters: the class whose mean is nearest.
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

/// Classifies features by the nearest mean of a class. With `Distance::cosine` the means are those of rows of
/// length 1. Of equally near means that of the lower class number counts.
///
///     const double accuracy = metrics::NearestCentroid{database, metrics::Distance::cosine}.accuracy(queries);
class NearestCentroid {
  public:
    /// \throws ShapeError, DataError if the database is no set of features
    explicit NearestCentroid(const Features& database, Distance distance = Distance::euclidean)
        : database_(detail::matrix("NearestCentroid", "database", database)) {
        const c10::NoGradGuard no_grad;
        at::Tensor place, members;
        std::tie(classes_, place, members) =
            at::_unique2(database_.target, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/true);
        const at::Tensor rows =
            distance == Distance::cosine ? ::retort::detail::unit_rows(database_.values) : database_.values;
        centroids_ = at::zeros({classes_.size(0), rows.size(1)}, rows.options())
                         .index_add(0, place, rows)
                         .div_(members.unsqueeze(1));
        places_ = detail::Places(centroids_, distance);
        database_.values = centroids_;  // its width and type are all that is needed from here on
    }
    /// The classes of these features: [samples], int64.
    /// \throws ShapeError, DataError if these are no features of the database's width
    at::Tensor predict(const Features& queries) const {
        const c10::NoGradGuard no_grad;
        return predicted(detail::queries_for("NearestCentroid", database_, queries).values);
    }
    /// The share of the queries whose class is found, from 0 to 1. A class that does not occur in the
    /// database is never found.
    double accuracy(const Features& queries) const {
        const c10::NoGradGuard no_grad;
        const Features asked = detail::queries_for("NearestCentroid", database_, queries);
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

    Features database_;
    at::Tensor classes_, centroids_;
    detail::Places places_;
};

}  // namespace retort::metrics
