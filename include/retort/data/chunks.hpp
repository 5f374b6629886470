// SPDX-License-Identifier: BSL-1.0
/// \file
/// An order of samples, cut into batches.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include <range/v3/range_fwd.hpp>

#include <retort/core/error.hpp>

namespace retort::data {

/// How many pieces `chunks` makes of `count` samples.
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
class Chunks : public ranges::view_base {
  public:
    class iterator {
      public:
        using value_type = at::Tensor;
        using difference_type = std::ptrdiff_t;
        using reference = at::Tensor;
        using iterator_category = std::input_iterator_tag;  // of C++17: the elements are no lvalues
        using iterator_concept = std::random_access_iterator_tag;

        iterator() = default;
        at::Tensor operator*() const { return chunks_->piece(number_); }
        at::Tensor operator[](difference_type steps) const { return chunks_->piece(number_ + steps); }
        iterator& operator++() { return *this += 1; }
        iterator& operator--() { return *this += -1; }
        iterator operator++(int) { return std::exchange(*this, *this + 1); }
        iterator operator--(int) { return std::exchange(*this, *this + -1); }
        iterator& operator+=(difference_type steps) {
            number_ += steps;
            return *this;
        }
        iterator& operator-=(difference_type steps) { return *this += -steps; }
        friend iterator operator+(iterator it, difference_type steps) { return it += steps; }
        friend iterator operator+(difference_type steps, iterator it) { return it += steps; }
        friend iterator operator-(iterator it, difference_type steps) { return it -= steps; }
        friend difference_type operator-(const iterator& a, const iterator& b) {
            return a.number_ - b.number_;
        }
        friend bool operator==(const iterator& a, const iterator& b) { return a.number_ == b.number_; }
        friend auto operator<=>(const iterator& a, const iterator& b) { return a.number_ <=> b.number_; }

      private:
        friend Chunks;
        iterator(const Chunks* chunks, std::int64_t number) : chunks_(chunks), number_(number) {}
        const Chunks* chunks_ = nullptr;
        std::int64_t number_ = 0;
    };

    Chunks() = default;
    /// See `chunks`.
    Chunks(at::Tensor order, std::int64_t batch_size, bool drop_last) : batch_size_(batch_size) {
        if (!order.defined() || order.dim() != 1) {
            throw ConfigError("chunks: expected an order in a one-dimensional tensor");
        }
        count_ = chunk_count(order.size(0), batch_size, drop_last);
        order_ = std::move(order);
    }
    iterator begin() const { return {this, 0}; }
    iterator end() const { return {this, count_}; }
    std::size_t size() const { return static_cast<std::size_t>(count_); }
    bool empty() const { return count_ == 0; }
    at::Tensor operator[](std::int64_t number) const { return piece(number); }

  private:
    at::Tensor piece(std::int64_t number) const {
        const auto start = number * batch_size_;
        return order_.narrow(0, start, std::min(batch_size_, order_.size(0) - start));
    }

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
