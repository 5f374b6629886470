// SPDX-License-Identifier: BSL-1.0
/// \file
/// Two views of each sample: weakly and strongly augmented.
#pragma once

#include <string>
#include <utility>

#include <retort/data/batch.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/transformed.hpp>
#include <retort/data/map.hpp>
#include <retort/data/two_view_batch.hpp>

namespace retort::data {

/// A view policy: a `Batch` becomes a `TwoViewBatch`. The two views of a sample draw their random numbers
/// independently; the weak ones are those of a loader with that transform.
///
/// ```cpp
/// retort::data::Loader batches{
///     dataset, {.seed = 1}, retort::data::TwoViews{retort::data::cifar100_train(), retort::data::cifar100_strong()}};
/// ```
template <Transform Weak, Transform Strong>
struct TwoViews {
    Weak weak;
    Strong strong;

    TwoViewBatch operator()(Batch batch) const {
        auto input = detail::transformed(weak, batch.input, batch.random.next());
        auto other = detail::transformed(strong, batch.input, batch.random.next());
        return {std::move(input), std::move(other), std::move(batch.target), std::move(batch.index),
                batch.random};
    }
    std::string description() const {
        return detail::described("TwoViews", "weak", detail::description_of(weak), "strong",
                                 detail::description_of(strong));
    }
};
template <class Weak, class Strong>
TwoViews(Weak, Strong) -> TwoViews<Weak, Strong>;

/// A stage of a pipeline: `loader.epoch(3) | two_views(weak, strong)`.
template <Transform Weak, Transform Strong>
auto two_views(Weak weak, Strong strong) {
    return map(TwoViews<Weak, Strong>{std::move(weak), std::move(strong)});
}

}  // namespace retort::data
