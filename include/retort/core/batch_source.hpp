// SPDX-License-Identifier: BSL-1.0
/// \file
/// Where batches come from: a range of batches, or a callable that gives the range of an epoch.
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

/// The batches of an epoch: the range itself, which is iterated once an epoch, or what the callable gives for
/// the epoch; from number `first` on where the callable takes it.
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
            "(std::int64_t) and gives one");
        return (source);
    }
}

/// How many batches a range has; 0 where it does not know.
template <class R>
std::int64_t batch_count(R& range) {
    if constexpr (std::ranges::sized_range<R>) {
        return static_cast<std::int64_t>(std::ranges::size(range));
    } else {
        return 0;
    }
}

}  // namespace detail

/// Where batches come from: an input range of batches, iterated once an epoch, or a callable that takes the
/// number of the epoch and gives such a range.
///
/// A run that goes on in the middle of an epoch takes up at the batch that it had reached. A callable that also takes a
/// second number gives the epoch's batches from that one on (`data::Loader` does); what any other source gives for the
/// epoch is gone through up to there, and must be what it was before.
template <class S>
concept BatchSource = detail::RangeOfBatches<S> || detail::EpochSource<S>;

}  // namespace retort
