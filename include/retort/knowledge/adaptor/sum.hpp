// SPDX-License-Identifier: BSL-1.0
/// \file
/// Several terms as one: a loss on several layers.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/knowledge/concept.hpp>

namespace retort {

/// Several terms as one, with fixed weights: a loss on several layers that counts as one term of a
/// `Knowledge`.
///
///     retort::Sum{retort::AttentionTransfer{...}, retort::AttentionTransfer{...}}.weighted(0.5, 1.0)
///
/// Formula: \f$ \sum_l w_l L_l \f$; all weights are 1 unless said otherwise.
template <SaysWhatItNeeds... Terms>
    requires(sizeof...(Terms) > 0)
class Sum {
  public:
    static constexpr bool needs_teacher = (Terms::needs_teacher || ...);
    static constexpr bool needs_target = (Terms::needs_target || ...);

    explicit Sum(Terms... terms) : terms_(std::move(terms)...) { weights_.fill(1.0); }

    /// The same terms with these weights, one each.
    template <class... Number>
        requires(sizeof...(Number) == sizeof...(Terms))
    Sum weighted(Number... weights) const {
        Sum result = *this;
        result.weights_ = {static_cast<double>(weights)...};
        return result;
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        at::Tensor result;
        each([&](const auto& term, double weight) {
            at::Tensor value = detail::call_term(term, student, teacher, batch, progress);
            if (weight != 1) value = value * weight;
            result = result.defined() ? result + value : value;
        });
        return result;
    }

    bool prepared() const {
        bool result = true;
        each([&](const auto& term, double) { result = result && detail::term_prepared(term); });
        return result;
    }
    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        std::apply([&](auto&... term) { (detail::prepare_term(term, student, teacher, batch), ...); },
                   terms_);
    }
    std::shared_ptr<torch::nn::Module> module() const {
        auto result = std::make_shared<torch::nn::Module>("Sum");
        std::size_t position = 0;
        each([&](const auto& term, double) {
            if (const std::shared_ptr<torch::nn::Module> part = detail::term_module(term)) {
                result->register_module(detail::concat("term", position), part);
            }
            ++position;
        });
        return result;
    }
    void check() const {
        each([](const auto& term, double weight) {
            if (!std::isfinite(weight))
                throw ConfigError(detail::concat("Sum: expected finite weights, found ", weight));
            detail::check_term(term);
        });
    }
    std::string name() const {
        std::string result;
        each([&](const auto& term, double) {
            result += (result.empty() ? "" : "+") + detail::term_name(term);
        });
        return result;
    }

  private:
    template <class F>
    void each(F&& function) const {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (function(std::get<I>(terms_), weights_[I]), ...);
        }(std::index_sequence_for<Terms...>{});
    }

    std::tuple<Terms...> terms_;
    std::array<double, sizeof...(Terms)> weights_{};
};

}  // namespace retort
