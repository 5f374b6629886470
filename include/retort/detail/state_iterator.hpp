// SPDX-License-Identifier: BSL-1.0
/// \file
/// The iterator of single-pass ranges.
#pragma once

#include <cstddef>
#include <iterator>

namespace retort::detail {

/// An input iterator over the elements that a `State` generates: `current()`, `next()`, `at_end()`.
template <class State>
class StateIterator {
  public:
    using value_type = typename State::Value;
    using difference_type = std::ptrdiff_t;
    using reference = value_type&;
    using pointer = value_type*;
    using iterator_category = std::input_iterator_tag;

    StateIterator() = default;
    explicit StateIterator(State* state) : state_(state) {}
    /// The current element, which may be moved from.
    reference operator*() const { return state_->current(); }
    pointer operator->() const { return &state_->current(); }
    StateIterator& operator++() {
        state_->next();
        return *this;
    }
    void operator++(int) { state_->next(); }
    friend bool operator==(const StateIterator& it, std::default_sentinel_t) { return it.state_->at_end(); }

  private:
    State* state_ = nullptr;
};

}  // namespace retort::detail
