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

namespace retort::data {

/// How many pieces `chunks` makes of `count` samples.
///
/// \throws ConfigError if `batch_size` is below 1 or `count` negative.
inline std::int64_t chunk_count(std::int64_t count, std::int64_t batch_size, bool drop_last = false) {
    using ::retort::detail::text;
    if (batch_size < 1)
        throw ConfigError(text("data: expected a batch_size of 1 or more, found ", batch_size));
    if (count < 0) throw ConfigError(text("data: expected a count of 0 or more, found ", count));
    return count / batch_size + (!drop_last && count % batch_size != 0 ? 1 : 0);
}

/// What `chunks` returns: a random-access view of known size, whose elements are tensors that share the
/// order's memory.
class Chunks : public ranges::view_facade<Chunks, ranges::finite> {
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

  private:
    friend ranges::range_access;

    struct Cursor {
        const Chunks* chunks = nullptr;
        std::int64_t number = 0;

        at::Tensor read() const {
            const auto start = number * chunks->batch_size_;
            return chunks->order_.narrow(0, start,
                                         std::min(chunks->batch_size_, chunks->order_.size(0) - start));
        }
        bool equal(const Cursor& other) const { return number == other.number; }
        void next() { ++number; }
        void prev() { --number; }
        void advance(std::ptrdiff_t steps) { number += steps; }
        std::ptrdiff_t distance_to(const Cursor& other) const { return other.number - number; }
    };
    Cursor begin_cursor() const { return {this, 0}; }
    Cursor end_cursor() const { return {this, count_}; }

    at::Tensor order_;
    std::int64_t batch_size_ = 1;
    std::int64_t count_ = 0;
};

/// The pieces of `batch_size` numbers of a one-dimensional `order`. The last piece may be shorter; with
/// `drop_last` it is then left out.
/// \throws ConfigError if `batch_size` is below 1 or `order` has not one
/// dimension.
inline Chunks chunks(at::Tensor order, std::int64_t batch_size, bool drop_last = false) {
    return Chunks(std::move(order), batch_size, drop_last);
}

}  // namespace retort::data
