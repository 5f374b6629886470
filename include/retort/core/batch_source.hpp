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

template <class R>
concept RangeOfBatches =
    (std::ranges::input_range<R> && Batch<std::remove_cvref_t<std::ranges::range_reference_t<R>>>) ||
    (OtherRange<R> && Batch<std::remove_cvref_t<decltype(*std::declval<R&>().begin())>>);

template <class S, class... Numbers>
concept GivesBatches = std::is_invocable_v<S&, Numbers...> &&
                       RangeOfBatches<std::remove_reference_t<std::invoke_result_t<S&, Numbers...>>>;

template <class S>
concept SeekableSource = GivesBatches<S, std::int64_t, std::int64_t>;

template <class S>
concept EpochSource = SeekableSource<S> || GivesBatches<S, std::int64_t>;

/// What `make` returns, as a range of the standard library.
template <class Make>
decltype(auto) std_range(Make&& make) {
    using R = decltype(make());
    if constexpr (OtherRange<std::remove_reference_t<R>>) {
        return StdRange<std::remove_cvref_t<R>>(make());
    } else {
        return make();
    }
}

/// The batches of an epoch: the range itself, iterated once per epoch, or what the callable returns for the epoch;
/// starting at batch `first` if the callable takes it.
template <class S>
decltype(auto) batches_of_epoch(S& source, std::int64_t epoch, std::int64_t first = 0) {
    if constexpr (SeekableSource<S>) {
        return std_range([&]() -> decltype(auto) { return source(epoch, first); });
    } else if constexpr (EpochSource<S>) {
        return std_range([&]() -> decltype(auto) { return source(epoch); });
    } else {
        static_assert(
            RangeOfBatches<S>,
            "retort: batches come from an input range of batches, or from a callable that takes the epoch "
            "(std::int64_t) and returns such a range");
        return std_range([&]() -> decltype(auto) { return (source); });
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
/// number and returns such a range. Ranges are those of the standard library and of range-v3:
///
///     trainer.fit(loader, {.epochs = 20});
///     trainer.fit([&](std::int64_t epoch) { return loader.epoch(epoch) | data::prefetch(2); }, {.epochs = 20});
///
/// A run resumed in the middle of an epoch continues at the batch it had reached. A callable with a second parameter
/// returns the epoch's batches from that index on (`data::Loader` does). Any other source is iterated up to that
/// batch, and must yield what it yielded before.
template <class S>
concept BatchSource = detail::RangeOfBatches<S> || detail::EpochSource<S>;

}  // namespace retort
