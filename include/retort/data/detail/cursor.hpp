// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cursor from which range-v3's `view_facade` makes an iterator, for single-pass views.
#pragma once

#include <type_traits>

#include <range/v3/iterator/default_sentinel.hpp>
#include <range/v3/range_fwd.hpp>

namespace retort::data::detail {

/// Iterates over what a `State` yields: `current()`, `next()`, `at_end()`. Elements may be moved from.
template <class State>
class Cursor {
  public:
    using value_type = typename State::Value;
    using single_pass = std::true_type;

    Cursor() = default;
    explicit Cursor(State* state) : state_(state) {}
    value_type& read() const { return state_->current(); }
    void next() { state_->next(); }
    bool equal(ranges::default_sentinel_t) const { return state_->at_end(); }

  private:
    State* state_ = nullptr;
};

}  // namespace retort::data::detail
