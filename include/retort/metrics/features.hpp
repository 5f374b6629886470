// SPDX-License-Identifier: BSL-1.0
/// \file
/// Features of many samples with their classes: the input of retrieval and probes.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::metrics {

/// The features of many samples at one layer, and the samples' classes. `retort::features` (in
/// `retort/metrics/extract_features.hpp`) extracts them from a network.
struct Features {
    at::Tensor values;  ///< N x ..., floating-point; all other dimensions are flattened
    at::Tensor target;  ///< N class indices, int64, at least 0

    std::int64_t size() const { return values.defined() && values.dim() > 0 ? values.size(0) : 0; }
};

namespace detail {

/// Features as a matrix, N x D, in float64 if they are float64 and float32 otherwise.
/// \throws ShapeError if they are not features; DataError if a value is not finite or a class negative
inline Features matrix(const std::string& where, const char* what, const Features& features) {
    using ::retort::detail::concat;
    const c10::NoGradGuard no_grad;
    const at::Tensor& values = features.values;
    const at::Tensor& target = features.target;
    if (!values.defined() || values.dim() < 2 || values.numel() == 0 || !values.is_floating_point()) {
        throw ShapeError(
            concat(where, ": expected the ", what,
                   " to be features of a floating-point type and of shape [samples, ...], found ",
                   values.defined()
                       ? concat(values.scalar_type(), " of shape ", ::retort::detail::shape_text(values))
                       : std::string("an undefined tensor")));
    }
    if (!target.defined() || target.dim() != 1 || target.size(0) != values.size(0) ||
        target.scalar_type() != at::kLong || target.device() != values.device()) {
        throw ShapeError(
            concat(where, ": expected ", values.size(0), " classes of type int64 (Long) for the ", what,
                   " on ", values.device(), ", found ",
                   target.defined() ? concat(target.scalar_type(), " of shape ",
                                             ::retort::detail::shape_text(target), " on ", target.device())
                                    : std::string("an undefined tensor")));
    }
    const auto type = values.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    Features result{values.detach().to(type).reshape({values.size(0), -1}), target.detach()};
    const at::Tensor bad = at::isfinite(result.values).all(1).logical_not();
    if (bad.any().item<bool>()) {
        throw DataError(concat(where, ": expected finite features, found NaN or infinity in row ",
                               bad.to(at::kByte).argmax().item<std::int64_t>(), " of the ", what));
    }
    if (result.target.lt(0).any().item<bool>()) {
        throw DataError(concat(where, ": expected classes of at least 0, found ",
                               result.target.min().item<std::int64_t>(), " in row ",
                               result.target.argmin().item<std::int64_t>(), " of the ", what));
    }
    return result;
}

/// Queries as a matrix compatible with the gallery.
/// \throws also ShapeError if widths or devices differ
inline Features queries_for(const std::string& where, const Features& gallery, const Features& queries) {
    using ::retort::detail::concat;
    Features result = matrix(where, "queries", queries);
    if (result.values.size(1) != gallery.values.size(1) ||
        result.values.device() != gallery.values.device()) {
        throw ShapeError(concat(where, ": expected queries of width ", gallery.values.size(1), " on ",
                                gallery.values.device(), ", as the gallery is, found width ",
                                result.values.size(1), " on ", result.values.device()));
    }
    result.values = result.values.to(gallery.values.scalar_type());
    return result;
}

}  // namespace detail
}  // namespace retort::metrics
