// SPDX-License-Identifier: BSL-1.0
/// \file
/// The samples of a batch, transformed.
#pragma once

#include <concepts>
#include <string>
#include <utility>

#include <retort/data/augment/no_transform.hpp>
#include <retort/data/batch.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/transformed.hpp>
#include <retort/data/map.hpp>

namespace retort::data {

/// The view policy of a loader with a transform: a `Batch` becomes a `Batch` whose samples are transformed.
template <Transform TransformPolicy = NoTransform>
struct OneView {
    TransformPolicy transform;

    Batch operator()(Batch batch) const {
        if constexpr (!std::same_as<TransformPolicy, NoTransform>)
            batch.input = detail::transformed(transform, batch.input, batch.random.next());
        return batch;
    }
    std::string description() const { return detail::description_of(transform); }
};
template <class TransformPolicy>
OneView(TransformPolicy) -> OneView<TransformPolicy>;

/// A stage of a pipeline: `loader.epoch(3) | one_view(transform)`.
template <Transform TransformPolicy>
auto one_view(TransformPolicy transform) {
    return map(OneView<TransformPolicy>{std::move(transform)});
}

}  // namespace retort::data
