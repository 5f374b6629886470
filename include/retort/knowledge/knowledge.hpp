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
#include <retort/core/network.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/terms.hpp>
#include <retort/knowledge/weighted.hpp>
#include <retort/schedule/schedule.hpp>

namespace retort {

/// The terms of the loss, in order. See `knowledge/concept.hpp` for what a term is.
///
///     retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 4.0}}
///
/// A `Schedule` gives their weights, one for each; or each term has its own (`Weighted`):
///
///     retort::Knowledge{0.1 * retort::CrossEntropy{}, 0.9 * retort::SoftTarget{.temperature = 4.0}}
/// \throws ConfigError on construction, if the options of a term are invalid.
template <class... Terms>
class Knowledge {
    static_assert(sizeof...(Terms) > 0, "retort: a Knowledge has at least one term");
    static_assert(
        (!detail::is_weighted<Terms> && ...),
        "retort: some terms of a Knowledge have weights (weight * term) and some have none: give all of them "
        "weights, or none and a Schedule");
    static_assert(((detail::is_weighted<Terms> || SaysWhatItNeeds<Terms>) && ...),
                  "retort: every term of a Knowledge must declare what it needs: static constexpr bool "
                  "needs_teacher, needs_target");

  public:
    static constexpr std::size_t size = sizeof...(Terms);
    /// Whether there is a term that trains the teacher (`ForTeacher`).
    static constexpr bool trains_teacher = (detail::trains_teacher<Terms> || ...);

    Knowledge()
        requires(std::default_initializable<Terms> && ...)
        : Knowledge(Terms{}...) {}
    explicit Knowledge(Terms... terms) : terms_(std::move(terms)...) { detail::check_terms(terms_); }

    const std::tuple<Terms...>& terms() const { return terms_; }
    std::tuple<Terms...>& terms() { return terms_; }

    /// The names of the terms; repeated names are numbered from the second on.
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
    bool prepared() const { return detail::terms_prepared(terms_); }

    /// Passes the outputs of a first batch to the terms: learnable parts take their sizes, type and device from it.
    /// \param teacher the teacher's outputs; may be null if `prepared()` is true
    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        detail::prepare_terms(terms_, student, teacher, batch);
    }

    /// Gives the student to the terms that read its parameters.
    template <class Student>
    void bind(const NetworkRef<Student>& student) {
        detail::bind_terms(terms_, student);
    }

    /// The learnable parts of all terms as one module: for moving, saving and counting. Children are named by
    /// the position of the term: `term2`.
    std::shared_ptr<torch::nn::Module> module() const { return detail::terms_module("Knowledge", terms_); }

    /// Stores or sets the state of the terms, including their learnable parts.
    /// \pre prepared()
    void checkpoint(Archive& archive) {
        detail::archive_module(archive, *module());
        detail::archive_terms(archive, terms_);
    }

    /// The parameters of the learnable parts; pass them to the optimizer together with the student's.
    std::vector<at::Tensor> parameters() const { return module()->parameters(); }

  private:
    std::tuple<Terms...> terms_;
};

/// Terms with their weights: short for a `Knowledge` of the terms and a `Schedule` of the weights, into which a
/// `Trainer` or an `Objective` splits it.
template <class... S, class... Terms>
    requires(sizeof...(Terms) > 0)
class Knowledge<Weighted<S, Terms>...> {
  public:
    static constexpr std::size_t size = sizeof...(Terms);
    static constexpr bool trains_teacher = (detail::trains_teacher<Terms> || ...);

    /// \throws ConfigError if the options of a term or of a schedule are invalid
    explicit Knowledge(const Weighted<S, Terms>&... terms)
        : terms_(terms.term...), schedule_(terms.weight...) {}

    /// The terms without their weights.
    const Knowledge<Terms...>& terms() const { return terms_; }
    /// The weights.
    const Schedule<S...>& schedule() const { return schedule_; }

  private:
    Knowledge<Terms...> terms_;
    Schedule<S...> schedule_;
};

namespace detail {

struct NoSchedule {};
/// The parts of a Knowledge: its terms, and the Schedule of their weights, if they have weights.
template <class K>
struct KnowledgeParts {
    using Terms = K;
    using Weights = NoSchedule;
    static constexpr bool weighted = false;
};
template <class... S, class... T>
    requires(sizeof...(T) > 0)
struct KnowledgeParts<Knowledge<Weighted<S, T>...>> {
    using Terms = Knowledge<T...>;
    using Weights = Schedule<S...>;
    static constexpr bool weighted = true;
};

}  // namespace detail

/// A `Knowledge` whose terms have weights.
template <class K>
concept WeightedKnowledge = detail::KnowledgeParts<K>::weighted;

}  // namespace retort
