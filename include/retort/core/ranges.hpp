// SPDX-License-Identifier: BSL-1.0
/// \file
/// The range concepts of the standard library without its views: including <ranges> costs every translation unit a
/// tenth of a second or more. Nearly all views of range-v3 satisfy these concepts; `StdRange` adapts the others.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

#if __has_include(<bits/ranges_base.h>)
#include <bits/ranges_base.h>  // libstdc++
#else
#include <ranges>
#endif

namespace retort::detail {

/// A range that the standard library does not recognize as one. The difference type of range-v3's `iota` over 64-bit
/// integers is a class, and so is that of every view of it.
template <class R>
concept OtherRange = !std::ranges::input_range<R> && requires(R& range) {
    *range.begin();
    ++*std::optional(range.begin());
    { range.begin() == range.end() } -> std::convertible_to<bool>;
};

/// An input range of the standard library that iterates over another one.
template <OtherRange R>
class StdRange {
    using Base = decltype(std::declval<R&>().begin());

  public:
    class iterator {
      public:
        using value_type = std::remove_cvref_t<decltype(*std::declval<Base&>())>;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        explicit iterator(R& range) : range_(&range), base_(range.begin()) {}
        decltype(auto) operator*() const { return *base_; }
        iterator& operator++() {
            ++base_;
            return *this;
        }
        void operator++(int) { ++base_; }
        friend bool operator==(const iterator& it, std::default_sentinel_t) {
            return it.base_ == it.range_->end();
        }

      private:
        R* range_;
        Base base_;
    };

    explicit StdRange(R range) : range_(std::move(range)) {}
    iterator begin() { return iterator(range_); }
    std::default_sentinel_t end() const { return {}; }
    std::size_t size()
        requires requires(R& range) { static_cast<std::size_t>(range.size()); }
    {
        return static_cast<std::size_t>(range_.size());
    }

  private:
    R range_;
};

}  // namespace retort::detail
