// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term on the plain views of batches that hold several views of each sample.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logits_adaptor.hpp>

namespace retort {

namespace detail {

inline void check_view_count(std::string_view where, std::int64_t views) {
    if (views < 1) throw ConfigError(concat(where, ": expected at least 1 view, found ", views));
}

}  // namespace detail

namespace functional {

/// The rows of the plain views, which come first for each sample.
/// Shapes: [batch * views, ...] to [batch, ...].
/// \throws ConfigError if `views` is below 1; ShapeError if the number of rows is not a multiple of it
inline at::Tensor plain_views(const at::Tensor& rows, std::int64_t views = 4) {
    detail::check_view_count("plain_views", views);
    detail::check_defined("plain_views", "the rows", rows);
    if (rows.dim() < 1 || rows.size(0) == 0 || rows.size(0) % views != 0) {
        throw ShapeError(detail::concat("plain_views: expected ", views,
                                        " consecutive views of each sample, found ",
                                        detail::shape_text(rows)));
    }
    return rows.slice(0, 0, rows.size(0), views);
}

}  // namespace functional

/// A term on the logits of the plain views only, for batches with several consecutive views of each sample and one
/// target per sample.
///
///     retort::OnPlainViews{retort::CrossEntropy{}, 4}
template <SaysWhatItNeeds Term>
struct OnPlainViews : detail::LogitsAdaptor<OnPlainViews<Term>, Term> {
    std::int64_t views = 4;  ///< at least 1

    void check() const {
        detail::check_view_count("OnPlainViews", views);
        TermAdaptor<Term>::check();
    }
    std::string name() const { return TermAdaptor<Term>::name() + "_on_plain_views"; }

    at::Tensor changed(const at::Tensor& scores) const { return functional::plain_views(scores, views); }
};

template <class Term>
OnPlainViews(Term) -> OnPlainViews<Term>;
template <class Term>
OnPlainViews(Term, std::int64_t) -> OnPlainViews<Term>;

}  // namespace retort
