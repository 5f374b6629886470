// SPDX-License-Identifier: BSL-1.0
/// \file
/// Extracts the features of a data set at layers of a network.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <cstddef>
#include <ranges>
#include <type_traits>
#include <vector>

#include <retort/core/batch.hpp>
#include <retort/core/batch_source.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/metrics/evaluate.hpp>
#include <retort/metrics/features.hpp>
#include <retort/tap/tap.hpp>
#include <retort/tap/taps.hpp>

namespace retort {

namespace detail {

/// The features of several taps, one `Features` each. `read(outputs)` returns their tensors.
template <class N, class Source, class Read>
std::vector<metrics::Features> read_features(const NetworkRef<N>& network, Source& source, Read&& read) {
    const at::NoGradGuard no_grad;
    const EvalMode eval(network.module());
    const at::Device device = device_of(network.module());
    std::vector<std::vector<at::Tensor>> values;
    std::vector<at::Tensor> targets;
    auto&& batches = batches_of_epoch(source, 0);
    for (auto it = std::ranges::begin(batches); it != std::ranges::end(batches); ++it) {
        using B = std::remove_cvref_t<decltype(*it)>;
        static_assert(LabeledBatch<B>, "retort: features need targets, but the batches have none");
        const B batch = to_device(B(*it), device);
        const std::vector<at::Tensor> tensors = read(network->forward(input(batch)));
        values.resize(tensors.size());
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            if (!tensors[i].defined() || tensors[i].dim() < 2) {
                throw ShapeError(concat("features: expected a tap of shape [batch, ...], found ",
                                        shape_text(tensors[i]), " at tap ", i));
            }
            // A copy: a view would keep the whole output of the forward alive.
            values[i].push_back(tensors[i].detach().reshape({tensors[i].size(0), -1}).clone());
        }
        targets.push_back(target(batch));
    }
    if (targets.empty()) throw DataError("features: expected at least one batch, found none");
    std::vector<metrics::Features> result;
    const at::Tensor classes = at::cat(targets);
    for (std::vector<at::Tensor>& each : values) {
        result.push_back({at::cat(each), classes});
        each.clear();
    }
    return result;
}

}  // namespace detail

/// The features of all samples at a tap of a network, one row per sample, with their classes. The network runs in
/// evaluation mode and without gradient; its state is left unchanged.
///
///     const metrics::Features features = retort::features(student, retort::tap<&Outputs::body>, test_batches);
/// \param network a module holder, `shared_ptr` to a module, or module object
/// \param source batches with targets: see `BatchSource`; a callable is called for epoch 0
/// \throws DataError if there are no batches; ShapeError if what the tap reads is not [batch, ...]
template <class N, class Tap, class Source>
    requires Network<std::remove_cvref_t<N>>
metrics::Features features(N&& network, const Tap& tap, Source&& source) {
    const NetworkRef<std::remove_cvref_t<N>> own(network);
    return detail::read_features(
               own, source,
               [&](const auto& outputs) {
                   static_assert(TapOf<Tap, std::remove_cvref_t<decltype(outputs)>>,
                                 "retort: the tap does not read a tensor from the outputs of the network");
                   return std::vector<at::Tensor>{tap(outputs)};
               })
        .front();
}

/// The features of several taps, in one pass over the batches: one `Features` each.
template <class N, class... T, class Source>
    requires Network<std::remove_cvref_t<N>>
std::vector<metrics::Features> features(N&& network, const Taps<T...>& taps, Source&& source) {
    const NetworkRef<std::remove_cvref_t<N>> own(network);
    return detail::read_features(own, source, [&](const auto& outputs) { return taps(outputs); });
}

}  // namespace retort
