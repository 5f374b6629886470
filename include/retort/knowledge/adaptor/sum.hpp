// SPDX-License-Identifier: BSL-1.0
/// \file
/// Several terms as one: a loss on several layers.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <tuple>
#include <utility>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/weighted.hpp>
#include <retort/schedule/schedule_adaptor.hpp>

namespace retort {

/// Several terms as one term of a `Knowledge`: a loss on several layers.
///
///     retort::Sum{retort::AttentionTransfer{...}, 0.5 * retort::AttentionTransfer{...}}
///
/// Formula: \f$ \sum_l w_l L_l \f$, with a weight of 1 for terms without one. Weights may be schedules; a term of weight 0
/// is not computed.
/// \tparam Terms terms, with or without a weight (`Weighted`)
/// \throws ConfigError if all weights are 0 in a step
template <class... Terms>
    requires(sizeof...(Terms) > 0 && (SaysWhatItNeeds<detail::term_of<Terms>> && ...))
class Sum : public TermAdaptor<detail::term_of<Terms>...> {
    using Base = TermAdaptor<detail::term_of<Terms>...>;
    static_assert(
        !Base::trains_teacher,
        "retort: a ForTeacher term belongs directly in the Knowledge, not in a Sum: the other terms "
        "would train the teacher, too");

  public:
    explicit Sum(Terms... terms)
        : Base(detail::unweighted(terms)...), weights_(detail::weight_of(terms)...) {}

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        at::Tensor result;
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (
                [&] {
                    const double weight = std::get<I>(weights_.schedules()).weight(progress);
                    if (weight == 0) return;
                    at::Tensor value =
                        detail::call_term(std::get<I>(this->terms()), student, teacher, batch, progress);
                    if (weight != 1) value = value * weight;
                    result = result.defined() ? result + value : value;
                }(),
                ...);
        }(std::index_sequence_for<Terms...>{});
        if (!result.defined()) {
            throw ConfigError(detail::concat(
                this->name(), ": expected a weight other than 0 in epoch ", progress.epoch, ", step ",
                progress.step, ", found none: for such steps give the whole Sum a weight of 0"));
        }
        return result;
    }
    void check() const {
        weights_.check();
        Base::check();
    }
    /// Stores or sets the state of the terms and of their weights.
    void checkpoint(Archive& archive) {
        Base::checkpoint(archive);
        detail::archive_policy(archive, "weights", weights_);
    }

  private:
    ScheduleAdaptor<detail::schedule_of<Terms>...> weights_;
};

}  // namespace retort
