// SPDX-License-Identifier: BSL-1.0
/// \file
/// A function applied to each element of a range, once.
#pragma once

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include <range/v3/range/traits.hpp>
#include <range/v3/utility/semiregular_box.hpp>
#include <range/v3/view/facade.hpp>

#include <retort/core/ranges.hpp>
#include <retort/data/detail/closure.hpp>
#include <retort/data/detail/cursor.hpp>

namespace retort::data {

namespace detail {

/// Whether the function also takes the element's position.
template <class Function, class Element>
concept TakesPosition = std::invocable<const Function&, Element, std::int64_t>;

template <class Function, class Element>
concept Maps = TakesPosition<Function, Element> || std::invocable<const Function&, Element>;

/// Applies a function to an element, without recording gradients.
template <class Function, class Element>
decltype(auto) apply(const Function& function, Element&& element, std::int64_t position) {
    // The same modes on all threads: they are thread-local.
    const c10::InferenceMode ordinary_tensors(false);
    const c10::NoGradGuard no_grad;
    if constexpr (TakesPosition<Function, Element>) {
        return std::invoke(function, std::forward<Element>(element), position);
    } else {
        return std::invoke(function, std::forward<Element>(element));
    }
}

/// The composition of two functions.
template <class First, class Second>
struct Composed {
    First first;
    Second second;

    template <class Element>
        requires Maps<First, Element>
    auto operator()(Element&& element, std::int64_t position) const {
        return apply(second, apply(first, std::forward<Element>(element), position), position);
    }
};

/// The results of a function for the elements of a range.
template <class Source, class Function>
using MappedValue = std::remove_cvref_t<decltype(apply(
    std::declval<const Function&>(), std::declval<std::ranges::range_value_t<Source>>(), std::int64_t{}))>;

/// A value that belongs to one view: copies of the view do not have it.
template <class T>
struct OfOneView : std::optional<T> {
    OfOneView() = default;
    OfOneView(const OfOneView&) : std::optional<T>() {}
    OfOneView& operator=(const OfOneView&) {
        this->reset();
        return *this;
    }
    ~OfOneView() = default;
};

/// Lets a view be copied, assigned and default-constructed, whatever it holds.
template <class T>
struct BoxOf : std::type_identity<T> {};
template <std::copy_constructible T>
struct BoxOf<T> : std::type_identity<ranges::semiregular_box_t<T>> {};

}  // namespace detail

/// What `map` returns: an input view, sized if its source is.
template <class Source, class Function>
class Mapped : public ranges::view_facade<Mapped<Source, Function>, ranges::range_cardinality<Source>::value>,
               public std::ranges::view_base {
    using Element = std::ranges::range_value_t<Source>;
    using Reference = std::ranges::range_reference_t<Source>;

  public:
    using Value = detail::MappedValue<Source, Function>;

    Mapped() = default;
    Mapped(Source source, Function function) : source_(std::move(source)), function_(std::move(function)) {}

    /// The number of elements.
    std::size_t size()
        requires std::ranges::sized_range<Source>
    {
        Source& from = source_;
        return static_cast<std::size_t>(std::ranges::size(from));
    }
    std::size_t size() const
        requires std::ranges::sized_range<const Source>
    {
        return static_cast<std::size_t>(std::ranges::size(source()));
    }
    const Source& source() const& { return source_; }
    Source source() && {
        Source& from = source_;
        return std::move(from);
    }
    const Function& function() const { return function_; }

  private:
    friend ranges::range_access;
    friend detail::Cursor<Mapped>;

    auto begin_cursor() {
        Source& from = source_;
        position_ = 0;
        current_.reset();
        at_.emplace(std::ranges::begin(from));
        return detail::Cursor<Mapped>(this);
    }
    ranges::default_sentinel_t end_cursor() const { return {}; }

    bool at_end() {
        Source& from = source_;
        return *at_ == std::ranges::end(from);
    }
    void next() {
        current_.reset();
        ++position_;
        ++*at_;
    }
    Value& current() {
        if (!current_)
            current_.emplace(detail::apply(function(), Element(static_cast<Reference&&>(**at_)), position_));
        return *current_;
    }

    typename detail::BoxOf<Source>::type source_;
    typename detail::BoxOf<Function>::type function_;
    detail::OfOneView<std::ranges::iterator_t<Source>> at_;
    detail::OfOneView<Value> current_;
    std::int64_t position_ = 0;
};

namespace detail {

template <class Function>
struct MapTo {
    Function function;

    template <InputRange Range>
    auto operator()(Range&& range) const {
        return mapped(held(std::forward<Range>(range)), function);
    }

  private:
    template <class Source>
    static auto mapped(Source source, Function then) {
        using Element = std::ranges::range_value_t<Source>;
        static_assert(
            std::constructible_from<Element, std::ranges::range_reference_t<Source>>,
            "retort: elements are copied out of the range; if they can only be moved, pass the range "
            "through ranges::views::move");
        static_assert(
            Maps<Function, Element>,
            "retort: the function must be callable with an element of the range, while const, since "
            "several threads may call it at the same time");
        return Mapped<Source, Function>(std::move(source), std::move(then));
    }
    /// The functions of two stages become one, which a prefetch after them applies on all its threads.
    template <class Source, class First>
    static auto mapped(Mapped<Source, First> before, Function then) {
        static_assert(
            Maps<Function, MappedValue<Source, First>>,
            "retort: the function must be callable with an element of the range, while const, since "
            "several threads may call it at the same time");
        Composed<First, Function> both{before.function(), std::move(then)};
        return Mapped<Source, Composed<First, Function>>(std::move(before).source(), std::move(both));
    }
};

}  // namespace detail

/// A stage of a pipeline: `range | map(function)` yields `function(element)` for the elements of a range. The function
/// is called once for each element, when it is dereferenced; not for elements that a later view skips (`drop`,
/// `stride`).
///
/// A function of two arguments is called as `function(element, position)` with the element's position in the range
/// (int64, from 0). It is called without recording gradients and must be callable while const: a `prefetch` that
/// directly follows calls it on several threads at the same time. (`ranges::views::transform` takes any function, calls
/// it each time an element is dereferenced, and on one thread at a time.)
///
/// Elements are copied out of the range, or moved if the range yields rvalues. A view is copied, a container passed
/// as an lvalue must outlive the result, one passed as an rvalue is moved in.
template <std::copy_constructible Function>
auto map(Function function) {
    return detail::Closure(detail::MapTo<Function>{std::move(function)});
}

}  // namespace retort::data
