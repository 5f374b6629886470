// SPDX-License-Identifier: BSL-1.0
/// \file
/// Elements made ahead of use, on other threads.
#pragma once

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/Stream.h>

#include <algorithm>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <range/v3/view/facade.hpp>

#include <retort/core/error.hpp>
#include <retort/core/ranges.hpp>
#include <retort/data/detail/closure.hpp>
#include <retort/data/detail/cursor.hpp>
#include <retort/data/detail/streams.hpp>
#include <retort/data/map.hpp>

namespace retort::data {

/// How far ahead, and on how many threads.
struct PrefetchOptions {
    /// Threads that make elements; 0: each is made on request, on the requesting thread.
    std::int64_t workers = 1;
    /// How many elements are made ahead of the one in use, at least 1. At most this many workers are started.
    std::int64_t depth = 2;
};

namespace detail {

inline void check(const PrefetchOptions& options) {
    using ::retort::detail::concat;
    if (options.workers < 0) {
        throw ConfigError(concat("prefetch: expected 0 workers or more, found ", options.workers));
    }
    if (options.depth < 1)
        throw ConfigError(concat("prefetch: expected a depth of 1 or more, found ", options.depth));
}

/// The threads, and the elements that wait for the consumer. Not movable: the threads hold its address.
template <class Source, class Function>
class PrefetchState {
    using Reference = std::ranges::range_reference_t<Source>;
    // An element may no longer exist when its source advances, so it is taken out of it.
    using Element = std::ranges::range_value_t<Source>;

  public:
    using Value = MappedValue<Source, Function>;

    PrefetchState(Source source, Function function, PrefetchOptions options)
        : source_(std::move(source)), function_(std::move(function)), options_(options) {
        if constexpr (std::ranges::sized_range<Source>)
            size_ = static_cast<std::size_t>(std::ranges::size(source_));
    }
    ~PrefetchState() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        room_.notify_all();
        for (auto& worker : workers_) worker.join();
    }
    PrefetchState(const PrefetchState&) = delete;
    PrefetchState& operator=(const PrefetchState&) = delete;

    std::size_t size() const { return size_; }

    /// Begins, and makes the first element the current one.
    void start() {
        if (started_)
            throw ConfigError(
                "prefetch: expected one begin(), found a second one: the elements are yielded once; build a "
                "new pipeline for each epoch, as in "
                "fit([&](std::int64_t epoch) { return loader.epoch(epoch) | ...; })");
        started_ = true;
        if (options_.workers > 0) {
            slots_.resize(static_cast<std::size_t>(options_.depth));
            const auto count = std::min(options_.workers, options_.depth);
            streams_ = current_streams();
            workers_.reserve(static_cast<std::size_t>(count));
            for (std::int64_t i = 0; i < count; ++i) workers_.emplace_back([this] { work(); });
        }
        next();
    }

    /// Makes the next element the current one, or none if there is none. An exception of the source or of the
    /// function is rethrown here, in place of its element, and ends the range.
    void next() {
        current_.reset();
        if (ended_) return;
        try {
            options_.workers == 0 ? make() : receive();
        } catch (...) {
            ended_ = true;
            throw;
        }
        ended_ = !current_.has_value();
    }

    bool at_end() const { return !current_.has_value(); }
    Value& current() { return *current_; }

  private:
    using Slot = std::variant<std::monostate, Value, std::exception_ptr>;

    Value made(Element element, std::size_t position) const {
        return apply(function_, std::move(element), static_cast<std::int64_t>(position));
    }

    /// The source's next element, or nothing at its end.
    std::optional<Element> pull() {
        const c10::InferenceMode ordinary_tensors(false);  // as in `apply`
        const c10::NoGradGuard no_grad;
        if (!position_) {
            position_.emplace(std::ranges::begin(source_));
        } else if (advance_) {
            ++*position_;
        }
        advance_ = false;
        if (*position_ == std::ranges::end(source_)) return std::nullopt;
        advance_ = true;
        return std::optional<Element>(std::in_place, static_cast<Reference&&>(**position_));
    }

    void make() {
        auto element = pull();
        if (element) current_.emplace(made(std::move(*element), taken_++));
    }

    void receive() {
        std::unique_lock lock(mutex_);
        auto& slot = slots_[taken_ % slots_.size()];
        ready_.wait(lock, [&] { return slot.index() != 0 || (exhausted_ && taken_ == issued_); });
        if (slot.index() == 0) return;
        auto outcome = std::exchange(slot, Slot{});
        ++taken_;
        const bool failed = outcome.index() == 2;
        if (failed) stopped_ = true;
        lock.unlock();
        failed ? room_.notify_all() : room_.notify_one();
        if (failed) std::rethrow_exception(std::get<2>(outcome));
        current_.emplace(std::get<1>(std::move(outcome)));
    }

    void put(std::size_t ticket, Slot outcome) {
        {
            const std::lock_guard lock(mutex_);
            slots_[ticket % slots_.size()] = std::move(outcome);
        }
        ready_.notify_one();
    }

    void work() {
        set_current_streams(streams_);
        while (true) {
            std::optional<Element> element;
            std::exception_ptr failure;
            std::size_t ticket = 0;
            {
                // One worker at a time waits for room and takes an element; the others wait for it. The
                // consumer never locks this mutex, so a slow source does not block it while elements are ready.
                const std::lock_guard pulling(source_mutex_);
                {
                    std::unique_lock lock(mutex_);
                    room_.wait(lock,
                               [&] { return stopped_ || exhausted_ || issued_ - taken_ < slots_.size(); });
                    if (stopped_ || exhausted_) return;
                }
                try {
                    element = pull();
                } catch (...) {
                    failure = std::current_exception();
                }
                {
                    const std::lock_guard lock(mutex_);
                    if (!element) exhausted_ = true;
                    if (element || failure) ticket = issued_++;
                }
                if (!element && !failure) {
                    ready_.notify_one();
                    return;
                }
            }
            if (failure) {
                put(ticket, Slot(std::in_place_index<2>, failure));
                return;
            }
            Slot outcome;
            try {
                outcome.template emplace<1>(made(std::move(*element), ticket));
            } catch (...) {
                outcome.template emplace<2>(std::current_exception());
            }
            put(ticket, std::move(outcome));
        }
    }

    Source source_;
    Function function_;
    PrefetchOptions options_;
    std::size_t size_ = 0;

    // Used by the consumer only.
    bool started_ = false;
    bool ended_ = false;
    std::optional<Value> current_;

    // Guarded by source_mutex_, if there are workers.
    std::mutex source_mutex_;
    std::optional<std::ranges::iterator_t<Source>> position_;
    bool advance_ = false;

    // Guarded by mutex_.
    std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable ready_;
    std::vector<Slot> slots_;
    std::size_t issued_ = 0;  // elements taken from the source
    std::size_t taken_ = 0;   // elements handed to the consumer
    bool exhausted_ = false;
    bool stopped_ = false;

    std::vector<c10::Stream> streams_;
    std::vector<std::thread> workers_;
};

}  // namespace detail

/// What `prefetch` returns: an input view, sized if its source is (`size()` counts all of its elements).
/// It can be iterated once. Copies share the elements: each element is yielded by one of them. When the last copy is
/// destroyed, its threads end after the elements that they are making.
template <class Source, class Function>
class Prefetched
    : public ranges::view_facade<Prefetched<Source, Function>, ranges::range_cardinality<Source>::value>,
      public std::ranges::view_base {
    using State = detail::PrefetchState<Source, Function>;

  public:
    Prefetched() = default;
    Prefetched(Source source, Function function, PrefetchOptions options)
        : state_(std::make_shared<State>(std::move(source), std::move(function), options)) {}

    /// The number of elements, including those already yielded.
    std::size_t size() const
        requires std::ranges::sized_range<Source>
    {
        return state_->size();
    }

  private:
    friend ranges::range_access;

    /// Starts the threads and waits for the first element.
    auto begin_cursor() {
        if (!state_) throw ConfigError("prefetch: expected a range to iterate over, found an empty view");
        state_->start();
        return detail::Cursor<State>(state_.get());
    }
    ranges::default_sentinel_t end_cursor() const { return {}; }

    std::shared_ptr<State> state_;
};

namespace detail {

struct PrefetchTo {
    PrefetchOptions options;

    template <InputRange Range>
    auto operator()(Range&& range) const {
        return prefetched(held(std::forward<Range>(range)));
    }

  private:
    template <class Source>
    auto prefetched(Source source) const {
        static_assert(
            std::constructible_from<std::ranges::range_value_t<Source>,
                                    std::ranges::range_reference_t<Source>>,
            "retort: elements are copied out of the range; if they can only be moved, pass the range "
            "through ranges::views::move");
        return Prefetched<Source, std::identity>(std::move(source), {}, options);
    }
    template <class Source, class Function>
    auto prefetched(Mapped<Source, Function> before) const {
        auto function = before.function();
        return Prefetched<Source, Function>(std::move(before).source(), std::move(function), options);
    }
};

}  // namespace detail

/// A stage of a pipeline: `range | prefetch(options)` yields the elements of a range in order, made ahead of use on
/// other threads.
///
/// The threads take elements from the range one at a time. If the range is a `map`, or another stage built on it
/// (`two_views`, `rotated_views`, `to_device`, an epoch of a `Loader`), they apply its function in parallel. The
/// results do not depend on the number of threads. An exception of the range or the function reaches the consumer in
/// place of its element, and ends the range. GPU work of the threads is enqueued on the streams that are current for
/// the consumer when it calls `begin()`.
///
/// ```cpp
/// loader.epoch(3) | retort::data::map(relabel) | retort::data::prefetch({.workers = 4, .depth = 8})
/// ```
/// Elements are copied or moved, and the range is held, as in `map`.
/// \throws ConfigError if the number of workers is negative or the depth is below 1, and from a second `begin()`.
/// `begin()` and `++` rethrow what the range or the function throws.
inline auto prefetch(PrefetchOptions options = {}) {
    detail::check(options);
    return detail::Closure(detail::PrefetchTo{options});
}
/// The same with one thread that makes `depth` elements ahead.
inline auto prefetch(std::int64_t depth) { return prefetch(PrefetchOptions{.depth = depth}); }

}  // namespace retort::data
