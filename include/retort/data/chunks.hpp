// SPDX-License-Identifier: BSL-1.0
/// \file
/// An order of samples, cut into batches.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <range/v3/view/facade.hpp>

#include <retort/core/error.hpp>
#include <retort/core/ranges.hpp>

namespace retort::data {

/// The number of chunks of `count` samples.
/// \throws ConfigError if `batch_size` is below 1 or `count` negative.
inline std::int64_t chunk_count(std::int64_t count, std::int64_t batch_size, bool drop_last = false) {
    using ::retort::detail::concat;
    if (batch_size < 1)
        throw ConfigError(concat("data: expected a batch_size of 1 or more, found ", batch_size));
    if (count < 0) throw ConfigError(concat("data: expected a count of 0 or more, found ", count));
    return count / batch_size + (!drop_last && count % batch_size != 0 ? 1 : 0);
}

/// What `chunks` returns: a random-access view of known size, whose elements are tensors that share the
/// order's memory.
class Chunks : public ranges::view_facade<Chunks, ranges::finite>, public std::ranges::view_base {
  public:
    Chunks() = default;
    /// See `chunks`.
    Chunks(at::Tensor order, std::int64_t batch_size, bool drop_last) : batch_size_(batch_size) {
        if (!order.defined() || order.dim() != 1) {
            throw ConfigError("chunks: expected an order in a one-dimensional tensor");
        }
        count_ = chunk_count(order.size(0), batch_size, drop_last);
        order_ = std::move(order);
    }
    std::size_t size() const { return static_cast<std::size_t>(count_); }
    at::Tensor operator[](std::int64_t number) const {
        const auto start = number * batch_size_;
        return order_.narrow(0, start, std::min(batch_size_, order_.size(0) - start));
    }

  private:
    friend ranges::range_access;

    class Cursor {
      public:
        Cursor() = default;
        Cursor(const Chunks* chunks, std::int64_t number) : chunks_(chunks), number_(number) {}
        at::Tensor read() const { return (*chunks_)[number_]; }
        void next() { ++number_; }
        void prev() { --number_; }
        void advance(std::ptrdiff_t steps) { number_ += steps; }
        bool equal(const Cursor& other) const { return number_ == other.number_; }
        std::ptrdiff_t distance_to(const Cursor& other) const { return other.number_ - number_; }

      private:
        const Chunks* chunks_ = nullptr;
        std::int64_t number_ = 0;
    };
    Cursor begin_cursor() const { return {this, 0}; }
    Cursor end_cursor() const { return {this, count_}; }

    at::Tensor order_;
    std::int64_t batch_size_ = 1;
    std::int64_t count_ = 0;
};

/// Chunks of `batch_size` numbers of a one-dimensional `order`. The last one may be shorter; with `drop_last` it is
/// then left out.
/// \throws ConfigError if `batch_size` is below 1 or `order` does not have one dimension.
inline Chunks chunks(at::Tensor order, std::int64_t batch_size, bool drop_last = false) {
    return Chunks(std::move(order), batch_size, drop_last);
}

}  // namespace retort::data
