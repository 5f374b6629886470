// SPDX-License-Identifier: BSL-1.0
/// \file
/// A range whose elements are made ahead of their use, on threads of their own.
#pragma once

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

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

#include <range/v3/range_fwd.hpp>

#include <retort/core/error.hpp>
#include <retort/core/ranges.hpp>
#include <retort/detail/state_iterator.hpp>

namespace retort::data {

/// How far ahead, and on how many threads.
struct PrefetchOptions {
    /// Threads that make elements; 0 makes each when it is asked for, on the thread that asks.
    std::int64_t workers = 1;
    /// How many elements are made ahead of the one in use, at least 1. No more than this many workers have
    /// work.
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

/// Does the function ask for the element's position too?
template <class Function, class Element>
concept TakesPosition = std::invocable<const Function&, Element, std::int64_t>;

template <class Function, class Element>
struct PrefetchResultOf : std::invoke_result<const Function&, Element> {};
template <class Function, class Element>
    requires TakesPosition<Function, Element>
struct PrefetchResultOf<Function, Element> : std::invoke_result<const Function&, Element, std::int64_t> {};
template <class Function, class Element>
using PrefetchResult = typename PrefetchResultOf<Function, Element>::type;

/// Where the elements come from and where they wait. Lives at one address, which its threads know.
template <class Source, class Function>
class PrefetchState {
    using Reference = std::ranges::range_reference_t<Source>;
    // What stands in a source may be gone when the source moves on, so each element is taken out of it.
    using Element = std::ranges::range_value_t<Source>;

  public:
    using Value = std::remove_cvref_t<PrefetchResult<Function, Element>>;

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
                "prefetch: this range can be gone through once; make another one to begin again");
        started_ = true;
        if (options_.workers == 0) {
            position_.emplace(std::ranges::begin(source_));
        } else {
            slots_.resize(static_cast<std::size_t>(options_.depth));
            const auto count = std::min(options_.workers, options_.depth);
            workers_.reserve(static_cast<std::size_t>(count));
            for (std::int64_t i = 0; i < count; ++i) workers_.emplace_back([this] { work(); });
        }
        next();
    }

    /// Makes the next element the current one, or none if there is none. An exception of the source or of the
    /// function comes out here, in the place of its element, and ends the range.
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

    Value apply(Element element, std::size_t position) const {
        // The same modes wherever elements are made: they are thread-local and default to recording
        // gradients.
        const c10::InferenceMode ordinary_tensors(false);
        const c10::NoGradGuard no_grad;
        if constexpr (TakesPosition<Function, Element>) {
            return std::invoke(function_, std::move(element), static_cast<std::int64_t>(position));
        } else {
            return std::invoke(function_, std::move(element));
        }
    }

    /// The source's next element, or nothing at its end.
    std::optional<Element> pull() {
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
        if (element) current_.emplace(apply(std::move(*element), taken_++));
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
        while (true) {
            std::optional<Element> element;
            std::exception_ptr failure;
            std::size_t ticket = 0;
            {
                // One worker at a time waits for room and takes an element; the others queue behind it. The
                // consumer never takes this mutex, so a slow source does not keep it from what is ready.
                const std::lock_guard pulling(source_mutex_);
                {
                    std::unique_lock lock(mutex_);
                    room_.wait(lock,
                               [&] { return stopped_ || exhausted_ || issued_ - taken_ < slots_.size(); });
                    if (stopped_ || exhausted_) return;
                }
                try {
                    const c10::InferenceMode ordinary_tensors(false);
                    const c10::NoGradGuard no_grad;
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
                outcome.template emplace<1>(apply(std::move(*element), ticket));
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

    // Of the consumer alone.
    bool started_ = false;
    bool ended_ = false;
    std::optional<Value> current_;

    // Under source_mutex_, where there are workers.
    std::mutex source_mutex_;
    std::optional<std::ranges::iterator_t<Source>> position_;
    bool advance_ = false;

    // Under mutex_.
    std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable ready_;
    std::vector<Slot> slots_;
    std::size_t issued_ = 0;  // elements taken from the source
    std::size_t taken_ = 0;   // elements handed to the consumer
    bool exhausted_ = false;
    bool stopped_ = false;

    std::vector<std::thread> workers_;
};

/// A range that belongs to somebody else.
template <class Range>
struct Borrowed {
    Range* range;
    auto begin() const { return std::ranges::begin(*range); }
    auto end() const { return std::ranges::end(*range); }
    auto size() const
        requires std::ranges::sized_range<Range>
    {
        return std::ranges::size(*range);
    }
};

}  // namespace detail

/// What `prefetch` returns: an input range, sized where its source is (`size()` counts all of its elements).
/// It can be gone through once. Copies are the same range: what one hands out, the others do not. Its threads
/// end, each after the element that it is making, when the last copy goes.
template <class Source, class Function>
class Prefetch : public ranges::view_base {
    using State = detail::PrefetchState<Source, Function>;

  public:
    using iterator = ::retort::detail::StateIterator<State>;

    Prefetch() = default;
    Prefetch(Source source, Function function, PrefetchOptions options)
        : state_(std::make_shared<State>(std::move(source), std::move(function), options)) {}

    /// Starts the threads and waits for the first element.
    /// \throws ConfigError if it was called before, and whatever source or function throw.
    iterator begin() {
        if (!state_) throw ConfigError("prefetch: expected a range to go through, found an empty Prefetch");
        state_->start();
        return iterator(state_.get());
    }
    std::default_sentinel_t end() const { return {}; }
    /// The number of elements, those already gone through among them.
    std::size_t size() const
        requires std::ranges::sized_range<Source>
    {
        return state_->size();
    }

  private:
    std::shared_ptr<State> state_;
};

/// The elements of `range`, each after `function`, in the order of the range, made ahead by threads of their
/// own.
///
/// The threads take elements from the range in turn, never two at a time, and apply the function at the same
/// time, without gradients. A function of two arguments is called as
/// `function(element, position)` with the element's position in the range (int64, from 0), so that random
/// numbers can depend on that. What comes out does not depend on how many there are. An exception of range or
/// function reaches the consumer in the place of its element, after which the range is at its end.
///
/// A range given as an lvalue must outlive the result, unless it is a view (which is copied, as range-v3
/// does); one given as an rvalue is moved in. Elements are copied out of the range, or moved where the range
/// gives rvalues: for elements that can only be moved, use `ranges::views::move`.
/// \throws ConfigError if
/// there are fewer than 0 workers or the depth is below 1.
template <class Range, class Function = std::identity>
    requires std::ranges::input_range<Range> && std::move_constructible<Function>
auto prefetch(Range&& range, PrefetchOptions options = {}, Function function = {}) {
    static_assert(
        std::invocable<const Function&, std::ranges::range_value_t<Range>> ||
            detail::TakesPosition<Function, std::ranges::range_value_t<Range>>,
        "retort: the function of prefetch must be callable with an element of the range, while const, since "
        "several threads call it at the same time");
    static_assert(
        std::constructible_from<std::ranges::range_value_t<Range>, std::ranges::range_reference_t<Range>>,
        "retort: prefetch takes elements out of the range; where they can only be moved, pass the range "
        "through ranges::views::move");
    detail::check(options);
    using Plain = std::remove_cvref_t<Range>;
    if constexpr (!std::is_lvalue_reference_v<Range> || std::ranges::view<Plain> ||
                  std::derived_from<Plain, ranges::view_base>) {
        return Prefetch<Plain, Function>(std::forward<Range>(range), std::move(function), options);
    } else {
        using Lent = detail::Borrowed<std::remove_reference_t<Range>>;
        return Prefetch<Lent, Function>(Lent{&range}, std::move(function), options);
    }
}

}  // namespace retort::data
