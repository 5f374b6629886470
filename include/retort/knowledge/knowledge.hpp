// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the student learns: the terms of the loss.
#pragma once

#include <torch/nn/module.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/core/error.hpp>
#include <retort/knowledge/concept.hpp>

namespace retort {

/// The terms of the loss, in order. See `knowledge/concept.hpp` for what a term is.
///
///     retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 4.0}}
/// \throws ConfigError on construction, if the options of a term make no sense.
template <class... Terms>
class Knowledge {
    static_assert(sizeof...(Terms) > 0, "retort: a Knowledge has at least one term");
    static_assert((SaysWhatItNeeds<Terms> && ...),
                  "retort: every term of a Knowledge says what it needs: static constexpr bool "
                  "needs_teacher, needs_target");

  public:
    static constexpr std::size_t size = sizeof...(Terms);
    /// Whether there is a term that trains the teacher (`ForTeacher`).
    static constexpr bool trains_teacher = (detail::trains_teacher<Terms> || ...);

    Knowledge()
        requires(std::default_initializable<Terms> && ...)
        : Knowledge(Terms{}...) {}
    explicit Knowledge(Terms... terms) : terms_(std::move(terms)...) {
        each([](const auto& term) { detail::check_term(term); });
    }

    const std::tuple<Terms...>& terms() const { return terms_; }
    std::tuple<Terms...>& terms() { return terms_; }

    /// The names of the terms; terms of equal names are numbered from the second on.
    std::array<std::string, size> names() const {
        std::array<std::string, size> result = std::apply(
            [](const auto&... term) { return std::array<std::string, size>{detail::term_name(term)...}; },
            terms_);
        for (std::size_t i = 1; i < size; ++i) {
            const std::string plain = result[i];
            const auto taken = [&] { return std::find(result.begin(), result.begin() + i, result[i]); };
            for (int number = 2; taken() != result.begin() + i; ++number)
                result[i] = detail::concat(plain, '_', number);
        }
        return result;
    }

    /// Whether all learnable parts have their sizes.
    bool prepared() const {
        bool result = true;
        each([&](const auto& term) { result = result && detail::term_prepared(term); });
        return result;
    }

    /// Shows the terms the outputs of a first batch: learnable parts take their sizes, type and device from
    /// it.
    /// \param teacher the teacher's outputs; may be null where `prepared()` is true
    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        each([&](auto& term) { detail::prepare_term(term, student, teacher, batch); });
    }

    /// The learnable parts of all terms as one module: for moving, saving and counting. Children are named by
    /// the position of the term: `term2`.
    std::shared_ptr<torch::nn::Module> module() const {
        auto result = std::make_shared<torch::nn::Module>("Knowledge");
        std::size_t position = 0;
        each([&](const auto& term) {
            if (const std::shared_ptr<torch::nn::Module> part = detail::term_module(term)) {
                result->register_module(detail::concat("term", position), part);
            }
            ++position;
        });
        return result;
    }

    /// Stores or sets the state of the terms: their learnable parts and what else they remember.
    /// \pre prepared()
    void checkpoint(Archive& archive) {
        detail::archive_module(archive, *module());
        std::size_t position = 0;
        each([&](auto& term) { detail::archive_policy(archive, detail::concat("term", position++), term); });
    }

    /// The parameters of the learnable parts; give them to the optimizer beside the student's.
    std::vector<at::Tensor> parameters() const { return module()->parameters(); }

  private:
    template <class F>
    void each(F&& function) const {
        std::apply([&](const auto&... term) { (function(term), ...); }, terms_);
    }
    template <class F>
    void each(F&& function) {
        std::apply([&](auto&... term) { (function(term), ...); }, terms_);
    }

    std::tuple<Terms...> terms_;
};

}  // namespace retort
