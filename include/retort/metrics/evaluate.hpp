// SPDX-License-Identifier: BSL-1.0
/// \file
/// Evaluates a network on batches.
#pragma once

#include <ATen/core/grad_mode.h>

#include <tuple>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/batch_source.hpp>
#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/metrics/accuracy.hpp>
#include <retort/metrics/concept.hpp>
#include <retort/teacher/concept.hpp>
#include <retort/teacher/no_teacher.hpp>

namespace retort {

namespace detail {

/// Runs the network over the batches, in evaluation mode and without gradient, and updates the metrics.
template <class N, class T, class Source, class... Metrics>
void measure(const NetworkRef<N>& network, T& teacher, Source& source, std::int64_t epoch,
             Metrics&... metrics) {
    const at::NoGradGuard no_grad;
    const EvalMode eval(network.module());
    const at::Device device = device_of(network.module());
    std::int64_t count = 0;
    auto&& batches = batches_of_epoch(source, epoch);
    for (auto it = std::ranges::begin(batches); it != std::ranges::end(batches); ++it, ++count) {
        using B = std::remove_cvref_t<decltype(*it)>;
        static_assert(LabeledBatch<B>, "retort: metrics need targets, but the batches have none");
        const B batch = to_device(B(*it), device);
        const auto& value = input(batch);
        using Outputs = OutputsOf<N, std::remove_cvref_t<decltype(value)>>;
        static_assert(HasLogits<Outputs>,
                      "retort: metrics need logits: the outputs of the network have no member `logits`, and "
                      "there is no function "
                      "logits(outputs) in the namespace of their type");
        const Outputs outputs = network->forward(value);
        if constexpr ((Metrics::needs_teacher || ...)) {
            const auto teacher_outputs = teacher(value);
            const auto update = [&](auto& metric) {
                if constexpr (std::remove_cvref_t<decltype(metric)>::needs_teacher) {
                    static_assert(HasLogits<std::remove_cvref_t<decltype(teacher_outputs)>>,
                                  "retort: a metric needs the logits of a teacher, but there is none");
                    metric.update(logits(outputs), target(batch), logits(teacher_outputs));
                } else {
                    metric.update(logits(outputs), target(batch));
                }
            };
            (update(metrics), ...);
        } else {
            (metrics.update(logits(outputs), target(batch)), ...);
        }
    }
    if (count == 0) throw DataError("evaluate: expected at least one batch, found none");
}

template <class N, class T, class Source, class... Metrics>
auto measured(const NetworkRef<N>& network, T& teacher, Source& source, Metrics... metrics) {
    if constexpr (sizeof...(Metrics) == 0) {
        return measured(network, teacher, source, metrics::Accuracy{});
    } else {
        measure(network, teacher, source, 0, metrics...);
        if constexpr (sizeof...(Metrics) == 1) {
            return std::get<0>(std::tuple<Metrics...>(std::move(metrics)...));
        } else {
            return std::tuple<Metrics...>(std::move(metrics)...);
        }
    }
}

}  // namespace detail

/// Evaluates a network on batches, in evaluation mode and without gradient; its state is left unchanged.
///
///     const double accuracy = retort::evaluate(net, test_batches).value();
///     const auto [top1, top5] = retort::evaluate(net, test_batches, retort::metrics::Accuracy{},
///                                                retort::metrics::TopK{5});
/// \param network a module holder, `shared_ptr` to a module, or module object
/// \param source batches: see `BatchSource`; a callable is called for epoch 0
/// \param metrics see `metrics/concept.hpp`; default: `metrics::Accuracy`
/// \returns the metric, or a tuple if there are several
/// \throws DataError if there are no batches
template <class N, class Source, metrics::Metric... Metrics>
    requires Network<std::remove_cvref_t<N>>
auto evaluate(N&& network, Source&& source, Metrics... metrics) {
    static_assert((!Metrics::needs_teacher && ...),
                  "retort: a metric needs a teacher: use Trainer::evaluate, or evaluate(network, teacher, "
                  "batches, metrics...)");
    NoTeacher none;
    return detail::measured(NetworkRef<std::remove_cvref_t<N>>(network), none, source, std::move(metrics)...);
}

/// With a teacher, for metrics that compare with one (`metrics::Agreement`).
template <class N, class T, class Source, metrics::Metric... Metrics>
    requires Network<std::remove_cvref_t<N>> && (!metrics::Metric<std::remove_cvref_t<Source>>)
auto evaluate(N&& network, T&& teacher, Source&& source, Metrics... metrics) {
    return detail::measured(NetworkRef<std::remove_cvref_t<N>>(network), teacher, source,
                            std::move(metrics)...);
}

}  // namespace retort
