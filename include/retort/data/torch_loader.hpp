// SPDX-License-Identifier: BSL-1.0
/// \file
/// A range of the batches of a `torch::data` loader, which is not a range itself. Includes nothing of `torch::data`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <range/v3/view/facade.hpp>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/core/ranges.hpp>
#include <retort/data/detail/cursor.hpp>

namespace retort::data {

namespace detail {

/// What `torch::data::make_data_loader` returns.
template <class L>
concept TorchLoader = requires(L& loader) {
    typename L::BatchType;
    { *loader.begin() } -> std::convertible_to<typename L::BatchType&>;
    loader.end();
};

/// A loader, and its position in an epoch.
template <class LoaderType>
class TorchLoaderState {
  public:
    using Value = typename LoaderType::BatchType;

    explicit TorchLoaderState(LoaderType& loader) : loader_(&loader), end_(loader.end()) {}
    explicit TorchLoaderState(std::unique_ptr<LoaderType> loader)
        : owned_(std::move(loader)), loader_(owned_.get()), end_(loader_->end()) {}

    /// Begins an epoch. LibTorch's loader refuses this while batches of the previous epoch are in flight, so the rest
    /// of an epoch that was left early is fetched first and discarded.
    void start() {
        abandon();
        position_.emplace(loader_->begin());
    }
    bool at_end() {
        if (!position_) return true;
        if (!(*position_ == end_)) return false;
        position_.reset();
        return true;
    }
    void next() { ++*position_; }
    Value& current() { return **position_; }

  private:
    void abandon() {
        while (position_) {
            try {
                if (!at_end()) next();
            } catch (const std::exception&) {
                // The error of a batch that is no longer wanted.
            }
        }
    }

    using Position = decltype(std::declval<LoaderType&>().begin());
    std::unique_ptr<LoaderType> owned_;
    LoaderType* loader_;
    Position end_;
    std::optional<Position> position_;
};

}  // namespace detail

/// What `batches` returns: an input view of the loader's batches, one epoch for each call of `begin()`. Only
/// the newest iterator is valid. Copies are the same view. LibTorch's loaders do not tell their length: it is known
/// (`Sized`) if `batches` was told. If the previous epoch was left early, `begin()` first waits for the loader to make the rest of it, which LibTorch
/// offers no way to cancel.
template <class LoaderType, bool Sized = false>
class TorchBatches
    : public ranges::view_facade<TorchBatches<LoaderType, Sized>, Sized ? ranges::finite : ranges::unknown>,
      public std::ranges::view_base {
    using State = detail::TorchLoaderState<LoaderType>;

  public:
    TorchBatches() = default;
    explicit TorchBatches(std::shared_ptr<State> state)
        requires(!Sized)
        : state_(std::move(state)) {}
    TorchBatches(std::shared_ptr<State> state, std::int64_t count)
        requires Sized
        : state_(std::move(state)), count_(count) {}

    /// The number of batches of an epoch, as `batches` was told.
    std::size_t size() const
        requires Sized
    {
        return static_cast<std::size_t>(count_);
    }

  private:
    friend ranges::range_access;

    auto begin_cursor() {
        state_->start();
        return detail::Cursor<State>(state_.get());
    }
    ranges::default_sentinel_t end_cursor() const { return {}; }

    std::shared_ptr<State> state_;
    std::int64_t count_ = 0;
};

namespace detail {

template <class LoaderType>
auto counted_batches(std::shared_ptr<TorchLoaderState<LoaderType>> state, std::int64_t count) {
    if (count < 1) {
        throw ConfigError(
            ::retort::detail::concat("batches: expected an epoch of 1 or more batches, found ", count));
    }
    return TorchBatches<LoaderType, true>(std::move(state), count);
}

}  // namespace detail

/// A range of the batches of a loader of `torch::data::make_data_loader`; each `begin()` starts an epoch. Exceptions of
/// the loader's workers propagate from the range.
///
/// ```cpp
/// auto loader = torch::data::make_data_loader(std::move(set).map(torch::data::transforms::Stack<>()), 64);
/// trainer.fit(retort::data::batches(loader), {.epochs = 10});
/// ```
/// The loader must outlive the range.
/// \param count the number of batches of an epoch, which schedules that change with every step need: the samples divided
/// by the batch size, rounded down with `drop_last`, otherwise up
/// \throws ConfigError if the pointer is empty, or the count below 1
template <detail::TorchLoader LoaderType>
auto batches(LoaderType& loader) {
    static_assert(::retort::Batch<typename LoaderType::BatchType>,
                  "retort: the loader's batches are lists of single samples; stack them into one batch by "
                  "dataset.map(torch::data::transforms::Stack<>())");
    return TorchBatches<LoaderType>(std::make_shared<detail::TorchLoaderState<LoaderType>>(loader));
}
template <detail::TorchLoader LoaderType>
auto batches(LoaderType& loader, std::int64_t count) {
    static_assert(::retort::Batch<typename LoaderType::BatchType>,
                  "retort: the loader's batches are lists of single samples; stack them into one batch by "
                  "dataset.map(torch::data::transforms::Stack<>())");
    return detail::counted_batches(std::make_shared<detail::TorchLoaderState<LoaderType>>(loader), count);
}
template <detail::TorchLoader LoaderType, class... Count>
auto batches(std::unique_ptr<LoaderType>& loader, Count... count) {
    if (!loader) throw ConfigError("batches: expected a data loader, found an empty pointer");
    return batches(*loader, count...);
}
/// The same with a loader that the range owns.
template <detail::TorchLoader LoaderType>
auto batches(std::unique_ptr<LoaderType>&& loader) {
    static_assert(::retort::Batch<typename LoaderType::BatchType>,
                  "retort: the loader's batches are lists of single samples; stack them into one batch by "
                  "dataset.map(torch::data::transforms::Stack<>())");
    if (!loader) throw ConfigError("batches: expected a data loader, found an empty pointer");
    return TorchBatches<LoaderType>(
        std::make_shared<detail::TorchLoaderState<LoaderType>>(std::move(loader)));
}
template <detail::TorchLoader LoaderType>
auto batches(std::unique_ptr<LoaderType>&& loader, std::int64_t count) {
    if (!loader) throw ConfigError("batches: expected a data loader, found an empty pointer");
    return detail::counted_batches(std::make_shared<detail::TorchLoaderState<LoaderType>>(std::move(loader)),
                                   count);
}

}  // namespace retort::data
