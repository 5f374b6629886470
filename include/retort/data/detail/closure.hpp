// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by the views of this folder: the right side of `|`, and how they hold their source.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <range/v3/range/concepts.hpp>
#include <range/v3/view/ref.hpp>
#include <range/v3/view/view.hpp>

#include <retort/core/ranges.hpp>

namespace retort::data::detail {

template <class R>
concept InputRange = std::ranges::input_range<R> || ::retort::detail::OtherRange<R>;

template <class R>
concept View = std::ranges::view<R> || ranges::view_<R>;

/// The source as a view holds it: a view is copied or moved, an rvalue container is moved in, an lvalue container is
/// referenced.
template <class Range>
auto held(Range&& range) {
    using Plain = std::remove_cvref_t<Range>;
    if constexpr (std::is_lvalue_reference_v<Range> && !View<Plain>) {
        return ranges::ref_view<std::remove_reference_t<Range>>(range);
    } else if constexpr (::retort::detail::OtherRange<Plain>) {
        return ::retort::detail::StdRange<Plain>(std::forward<Range>(range));
    } else {
        return Plain(std::forward<Range>(range));
    }
}
template <class Range>
using Held = decltype(held(std::declval<Range>()));

/// A view closure of range-v3, which composes with range-v3's own. Its `|` also accepts what range-v3 refuses there:
/// views of the standard library, and rvalue containers.
template <class Function>
struct Closure : ranges::views::view_closure<Function> {
    explicit Closure(Function stage) : ranges::views::view_closure<Function>(std::move(stage)) {}

    template <InputRange Range>
        requires(!ranges::viewable_range<Range>)
    friend auto operator|(Range&& range, Closure closure) {
        return closure(std::forward<Range>(range));
    }
};

}  // namespace retort::data::detail

namespace ranges {
template <class Function>
inline constexpr bool is_pipeable_v<retort::data::detail::Closure<Function>> = true;
}  // namespace ranges
