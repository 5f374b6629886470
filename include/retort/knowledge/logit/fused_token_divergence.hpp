// SPDX-License-Identifier: BSL-1.0
/// \file
/// Divergence of language-model logits fused with the projection to the vocabulary: the logits are never materialized.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/token_loss.hpp>
#include <retort/knowledge/logit/projected_logits.hpp>
#include <retort/knowledge/logit/sparse_teacher.hpp>
#include <retort/knowledge/logit/token_divergence.hpp>

namespace retort {

/// `TokenDivergence` and cross-entropy with the labels, fused with the projection to the vocabulary and computed in
/// chunks of tokens: the logits of the whole batch are never materialized.
///
/// Formula: \f$ w_s D + w_h \, \mathrm{CE} \f$ per token, with the logits \f$ z = h W^\top + b \f$; D as in
/// `TokenDivergence`, the cross-entropy at temperature 1, both over the tokens that are not ignored.
/// Shapes: hidden states [tokens, width] or [batch, time, width], projection [vocabulary, width], bias
/// [vocabulary]; labels [tokens] or [batch, time], as `TokenDivergence`. The widths of the two sides may
/// differ, the vocabularies may not (but see `pad_vocabulary`).
/// Teacher: hidden states and projection, logits, or a `SparseTeacher`.
/// Gradient: to the student's hidden states, projection and bias, if they require one; computed with the value, so
/// that the backward pass only scales (`Reduction::none` iterates over the tokens again there). First derivatives
/// only. The gradient of 16-bit projections is accumulated in float32.
/// Memory besides inputs and gradients: two chunks of logits, [tokens_per_chunk, vocabulary] each.
/// Source: Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, for the technique.
struct FusedTokenDivergence {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;  ///< used as labels if the batch has them

    TokenDivergence soft{};
    double soft_weight = 1.0;           ///< 0 or more; at 0 the teacher is not computed
    double hard_weight = 0.0;           ///< 0 or more; above 0 requires labels
    std::int64_t tokens_per_chunk = 0;  ///< 0: chosen by the size of the vocabulary
    /// If the vocabularies differ in size: false is an error; true gives the smaller one zero logits for the missing
    /// words, which takes probability from those it has.
    bool pad_vocabulary = false;

    /// Liger's fused linear Jensen-Shannon: half hard, half soft, no T^2, padding. Beta 0 and 1 stand for `forward`
    /// and `reverse`. (There the hard part is computed in float32 whatever the type.)
    static FusedTokenDivergence liger(double beta = 0.5, double temperature = 1.0) {
        return {.soft = TokenDivergence::liger(beta, temperature),
                .soft_weight = 0.5,
                .hard_weight = 0.5,
                .pad_vocabulary = true};
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const;
    static std::string name() { return "fused_token_divergence"; }
};

namespace detail {

inline void check_vocabularies(std::string_view where, std::int64_t student, std::int64_t teacher, bool pad) {
    if (student != teacher && !pad) {
        throw ShapeError(concat(where, ": expected one vocabulary, found ", student,
                                " words of the student's and ", teacher, " of the teacher's"));
    }
}

inline at::Tensor fused_token_loss(const ProjectedLogits& student, TokenLoss loss, const at::Tensor& labels,
                                   const FusedTokenDivergence& options) {
    loss.student = ProjectedLogits{flat_tokens(student.hidden), student.weight, student.bias};
    loss.soft_weight *= options.soft_weight;
    loss.hard_weight = options.hard_weight;
    loss.pad_vocabulary = options.pad_vocabulary;
    loss.tokens_per_chunk = options.tokens_per_chunk;
    return run_token_loss("fused_token_divergence", loss, labels, token_sizes(student.hidden), options.soft);
}

}  // namespace detail

namespace functional {

/// See `FusedTokenDivergence`.
/// \param labels may be undefined without a hard part
/// \throws ConfigError if an option is out of range; ShapeError if the two sides and the labels do not match
inline at::Tensor fused_token_divergence(const ProjectedLogits& student, const ProjectedLogits& teacher,
                                         const at::Tensor& labels = {},
                                         const FusedTokenDivergence& options = {}) {
    constexpr std::string_view where = "fused_token_divergence";
    options.check();
    detail::check_projected(where, "the student's", student);
    detail::check_projected(where, "the teacher's", teacher);
    detail::check_same_device(where, "the student's hidden states", student.hidden,
                              "the teacher's hidden states", teacher.hidden);
    if (detail::token_sizes(student.hidden) != detail::token_sizes(teacher.hidden)) {
        throw ShapeError(detail::concat(
            where, ": expected the same tokens on both sides, found the student's hidden states ",
            detail::shape_text(student.hidden), " and the teacher's ", detail::shape_text(teacher.hidden)));
    }
    detail::check_vocabularies(where, student.weight.size(0), teacher.weight.size(0), options.pad_vocabulary);
    detail::TokenLoss loss = detail::token_loss_of(options.soft);
    loss.teacher = ProjectedLogits{detail::flat_tokens(detail::constant(teacher.hidden)),
                                   detail::constant(teacher.weight),
                                   teacher.bias.defined() ? detail::constant(teacher.bias) : at::Tensor()};
    return detail::fused_token_loss(student, std::move(loss), labels, options);
}

/// With a teacher whose logits are given.
inline at::Tensor fused_token_divergence(const ProjectedLogits& student, const at::Tensor& teacher,
                                         const at::Tensor& labels = {},
                                         const FusedTokenDivergence& options = {}) {
    constexpr std::string_view where = "fused_token_divergence";
    options.check();
    detail::check_projected(where, "the student's", student);
    detail::check_token_logits(where, "the teacher's logits", teacher);
    detail::check_same_device(where, "the student's hidden states", student.hidden, "the teacher's logits",
                              teacher);
    if (detail::token_sizes(student.hidden) != detail::token_sizes(teacher)) {
        throw ShapeError(detail::concat(
            where, ": expected the same tokens on both sides, found the student's hidden states ",
            detail::shape_text(student.hidden), " and the teacher's logits ", detail::shape_text(teacher)));
    }
    detail::check_vocabularies(where, student.weight.size(0), teacher.size(-1), options.pad_vocabulary);
    detail::TokenLoss loss = detail::token_loss_of(options.soft);
    loss.teacher = detail::flat_tokens(detail::constant(teacher));
    return detail::fused_token_loss(student, std::move(loss), labels, options);
}

/// With a teacher given by its most probable words only.
inline at::Tensor fused_token_divergence(const ProjectedLogits& student, const SparseTeacher& teacher,
                                         const at::Tensor& labels = {},
                                         const FusedTokenDivergence& options = {}) {
    constexpr std::string_view where = "fused_token_divergence";
    options.check();
    detail::check_projected(where, "the student's", student);
    detail::TokenLoss loss = detail::token_loss_of(options.soft);
    loss.teacher = detail::flat_sparse(where, teacher, detail::token_sizes(student.hidden),
                                       student.weight.size(0), options.soft.temperature);
    detail::check_same_device(where, "the student's hidden states", student.hidden, "the teacher's words",
                              teacher.indices);
    return detail::fused_token_loss(student, std::move(loss), labels, options);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor FusedTokenDivergence::operator()(const Student& student, const Teacher& teacher,
                                            const B& batch) const {
    static_assert(HasProjectedLogits<Student>,
                  "retort: FusedTokenDivergence needs projected logits: the student's outputs have no member "
                  "`projected_logits`, and there is no function projected_logits(outputs) in the namespace "
                  "of their type");
    static_assert(HasProjectedLogits<Teacher> || HasLogits<Teacher> || detail::HasSparseTeacher<Teacher>,
                  "retort: FusedTokenDivergence needs the teacher's logits: its outputs have no member "
                  "`projected_logits`, `sparse_teacher` or `logits`, and there is no such function in the "
                  "namespace of their type");
    const at::Tensor labels = detail::labels_of(batch);
    if constexpr (HasProjectedLogits<Teacher>) {
        return functional::fused_token_divergence(projected_logits(student), projected_logits(teacher),
                                                  labels, *this);
    } else if constexpr (detail::HasSparseTeacher<Teacher>) {
        return functional::fused_token_divergence(projected_logits(student),
                                                  detail::sparse_teacher_of(teacher), labels, *this);
    } else {
        return functional::fused_token_divergence(projected_logits(student), logits(teacher), labels, *this);
    }
}

inline void FusedTokenDivergence::check() const {
    soft.check();
    detail::check_range("FusedTokenDivergence", "a soft_weight", soft_weight, detail::at_least(0));
    detail::check_range("FusedTokenDivergence", "a hard_weight", hard_weight, detail::at_least(0));
    detail::check_range("FusedTokenDivergence", "tokens_per_chunk", tokens_per_chunk, detail::at_least(0));
}

}  // namespace retort
