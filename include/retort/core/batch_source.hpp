// SPDX-License-Identifier: BSL-1.0
/// \file
/// Where batches come from: a range of batches, or a callable that returns the range of an epoch.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/ranges.hpp>

namespace retort {

namespace detail {

template <class S>
concept RangeOfBatches =
    std::ranges::input_range<S> && Batch<std::remove_cvref_t<std::ranges::range_reference_t<S>>>;

template <class S>
concept EpochSource =
    std::is_invocable_v<S&, std::int64_t> && RangeOfBatches<std::invoke_result_t<S&, std::int64_t>>;

template <class S>
concept SeekableSource = EpochSource<S> && std::is_invocable_v<S&, std::int64_t, std::int64_t> &&
                         RangeOfBatches<std::invoke_result_t<S&, std::int64_t, std::int64_t>>;

/// The batches of an epoch: the range itself, iterated once per epoch, or what the callable returns for the epoch;
/// starting at batch `first` if the callable takes it.
template <class S>
decltype(auto) batches_of_epoch(S& source, std::int64_t epoch, std::int64_t first = 0) {
    if constexpr (SeekableSource<S>) {
        return source(epoch, first);
    } else if constexpr (EpochSource<S>) {
        return source(epoch);
    } else {
        static_assert(
            RangeOfBatches<S>,
            "retort: batches come from an input range of batches, or from a callable that takes the epoch "
            "(std::int64_t) and returns such a range");
        return (source);
    }
}

/// The number of batches in a range; 0 if unknown.
template <class R>
std::int64_t batch_count(R& range) {
    if constexpr (std::ranges::sized_range<R>) {
        return static_cast<std::int64_t>(std::ranges::size(range));
    } else {
        return 0;
    }
}

}  // namespace detail

/// Where batches come from: an input range of batches, iterated once per epoch, or a callable that takes the epoch's
/// number and returns such a range.
///
/// A run resumed in the middle of an epoch continues at the batch it had reached. A callable with a second parameter
/// returns the epoch's batches from that index on (`data::Loader` does). Any other source is iterated up to that
/// batch, and must yield what it yielded before.
template <class S>
concept BatchSource = detail::RangeOfBatches<S> || detail::EpochSource<S>;

}  // namespace retort
