// SPDX-License-Identifier: BSL-1.0
/// \file
/// Divergence of language-model logits, token by token over a long vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <retort/core/batch.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/row_divergence.hpp>
#include <retort/knowledge/detail/token_loss.hpp>
#include <retort/knowledge/logit/sparse_teacher.hpp>

namespace retort {

/// Divergence of the student's distribution over the vocabulary from the teacher's, for every token that is not
/// ignored.
///
/// Formula: \f$ T^2 \, D(t \,\|\, s) \f$ with \f$ t = \sigma(z_t / T) \f$, \f$ s = \sigma(z_s / T) \f$ and D selected
/// by `form`; sum over the vocabulary, mean over the tokens whose label is not `ignore_index`. Without labels every
/// token counts; if none does, the loss is 0 with zero gradient.
/// Shapes: logits of both sides [tokens, vocabulary] or [batch, time, vocabulary]; labels [tokens] or [batch, time],
/// int64: those predicted by the logits at the same position. Shift the labels, not the logits: logits without their
/// last step are not contiguous, and would be copied.
/// Gradient: to the student's logits; the teacher's are constants. Computed with the value, chunk by chunk: the
/// gradient is the only tensor of the logits' size that is allocated. First derivatives only.
/// Reductions: `batchmean` (default: mean over the counted tokens), `sum`, `mean` (over the counted tokens and the
/// vocabulary), `none` (one value per token, in the shape of the labels; 0 if ignored).
/// Teacher: logits, or a `SparseTeacher` (the outputs themselves or their member `sparse_teacher`); `rest` selects how
/// the probability of the other words is treated.
/// Hazards: impossible words (logits of minus infinity) count as 0 log 0 = 0; a word that is impossible for the
/// student but not for the teacher makes `forward` infinite, as in theory, and vice versa for `reverse`;
/// `jensen_shannon` is always finite. The contents of ignored tokens (NaN, say) do not matter. 16-bit logits are
/// computed in float32.
/// Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (`forward`); Agarwal et al.,
/// "On-Policy Distillation of Language Models", 2023 (generalized Jensen-Shannon).
struct TokenDivergence {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;  ///< used as labels if the batch has them

    /// `forward`, `reverse`, `symmetric`, `jensen_shannon`, `cross_entropy`, `symmetric_cross_entropy`.
    using Form = detail::RowForm;

    Form form = Form::forward;
    double beta = 0.5;         ///< of the symmetric forms and `jensen_shannon`
    double temperature = 1.0;  ///< above 0
    bool t_squared = true;     ///< as `SoftTarget`; released code for language models has none
    Reduction reduction = Reduction::batchmean;
    std::int64_t ignore_index = -100;
    /// The divisor of `batchmean` and `mean`, in place of the number of counted tokens: for example, their number in
    /// all parts of an accumulated batch. 0: count.
    double items = 0.0;
    /// Without labels, divide by the number of sequences, not of tokens.
    bool per_sequence_without_labels = false;
    /// `forward` and the cross-entropies omit words that are impossible for the student.
    bool skip_impossible = false;
    SparseRest rest = SparseRest::bucket;  ///< of a `SparseTeacher`

    /// TRL's GKD: generalized Jensen-Shannon; there beta 0 and 1 stand for `forward` and `reverse`, which are not the
    /// limits of the formula. No T^2; without labels a mean over sequences.
    static TokenDivergence trl(double beta = 0.5, double temperature = 1.0) {
        const Form form = beta == 0.0 ? Form::forward : beta == 1.0 ? Form::reverse : Form::jensen_shannon;
        return {.form = form,
                .beta = beta,
                .temperature = temperature,
                .t_squared = false,
                .per_sequence_without_labels = true};
    }
    /// Liger's fused loss without its hard part (see `FusedTokenDivergence::liger`): as TRL.
    static TokenDivergence liger(double beta = 0.5, double temperature = 1.0) {
        TokenDivergence result = trl(beta, temperature);
        result.per_sequence_without_labels = false;
        return result;
    }
    /// torchtune's "forward KL", a cross-entropy that is not 0 at equality. Words that are impossible for the student
    /// are omitted.
    static TokenDivergence torchtune_forward() {
        return {.form = Form::cross_entropy, .skip_impossible = true};
    }
    /// torchtune's reverse KL.
    static TokenDivergence torchtune_reverse() { return {.form = Form::reverse}; }
    /// torchtune's symmetric KL.
    /// \param beta of the forward part
    static TokenDivergence torchtune_symmetric(double beta = 0.5) {
        return {.form = Form::symmetric_cross_entropy, .beta = beta, .skip_impossible = true};
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const;
    static std::string name() { return "token_divergence"; }
};

namespace detail {

/// The labels of a batch, if any.
template <class B>
at::Tensor labels_of(const B& batch) {
    if constexpr (LabeledBatch<B>) {
        return target(batch);
    } else {
        return {};
    }
}

inline void check_token_logits(std::string_view where, std::string_view what, const at::Tensor& logits) {
    check_defined(where, what, logits);
    if ((logits.dim() != 2 && logits.dim() != 3) || logits.numel() == 0) {
        throw ShapeError(concat(where, ": expected ", what,
                                " of shape [tokens, vocabulary] or [batch, time, vocabulary], found ",
                                shape_text(logits)));
    }
    check_floating(where, what, logits);
}

/// Of the shape [batch, time] or [tokens].
inline at::IntArrayRef token_sizes(const at::Tensor& tensor) {
    return tensor.sizes().slice(0, static_cast<std::size_t>(tensor.dim() - 1));
}
inline at::Tensor flat_tokens(const at::Tensor& tensor) {
    return tensor.dim() == 2 ? tensor : tensor.reshape({-1, tensor.size(-1)});
}

/// The loss selected by the options; both sides are flat and already checked.
inline TokenLoss token_loss_of(const TokenDivergence& options) {
    TokenLoss loss;
    loss.divergence = {
        .form = options.form, .beta = options.beta, .skip_impossible = options.skip_impossible};
    loss.rest = options.rest;
    loss.temperature = options.temperature;
    loss.soft_weight = options.t_squared ? options.temperature * options.temperature : 1.0;
    return loss;
}

/// A sparse teacher for these tokens, flat.
inline SparseTeacher flat_sparse(std::string_view where, const SparseTeacher& teacher, at::IntArrayRef sizes,
                                 std::int64_t vocabulary, double temperature) {
    check_sparse(where, teacher, sizes, vocabulary);
    if (teacher.temperature != temperature) {
        throw ConfigError(concat(where, ": expected a sparse teacher taken at the temperature ", temperature,
                                 " of the loss, found one taken at ", teacher.temperature));
    }
    return {.indices = flat_tokens(teacher.indices),
            .log_probabilities = flat_tokens(constant(teacher.log_probabilities)),
            .log_rest = teacher.log_rest.defined() ? constant(teacher.log_rest).reshape({-1}) : at::Tensor(),
            .temperature = teacher.temperature};
}

inline at::ScalarType teacher_type(const TokenLoss& loss) {
    if (const auto* projected = std::get_if<ProjectedLogits>(&loss.teacher))
        return projected->hidden.scalar_type();
    if (const auto* sparse = std::get_if<SparseTeacher>(&loss.teacher))
        return sparse->log_probabilities.scalar_type();
    const auto* whole = std::get_if<at::Tensor>(&loss.teacher);
    return whole != nullptr && whole->defined() ? whole->scalar_type() : loss.type();
}

inline at::Tensor run_token_loss(std::string_view where, TokenLoss& loss, const at::Tensor& labels,
                                 at::IntArrayRef sizes, const TokenDivergence& options) {
    loss.widen_student(teacher_type(loss));
    count_tokens(where, loss, labels, sizes, options.ignore_index);
    double items = options.items;
    if (items == 0 && !labels.defined() && options.per_sequence_without_labels) {
        items = static_cast<double>(sizes[0]);
    }
    reduce_tokens(loss, options.reduction, items);
    const at::Tensor value = token_loss(loss);
    return loss.per_token && sizes.size() > 1 ? value.reshape(sizes) : value;
}

}  // namespace detail

namespace functional {

/// See `TokenDivergence`.
/// \param labels may be undefined
/// \throws ConfigError if an option is out of range; ShapeError if logits, labels or the two vocabularies do not
/// match
inline at::Tensor token_divergence(const at::Tensor& student, const at::Tensor& teacher,
                                   const at::Tensor& labels = {}, const TokenDivergence& options = {}) {
    constexpr std::string_view where = "token_divergence";
    options.check();
    detail::check_token_logits(where, "the student's logits", student);
    detail::check_token_logits(where, "the teacher's logits", teacher);
    detail::check_alike(where, "the student's logits", student, "the teacher's logits", teacher);
    detail::TokenLoss loss = detail::token_loss_of(options);
    loss.student = detail::flat_tokens(student);
    loss.teacher = detail::flat_tokens(detail::constant(teacher));
    return detail::run_token_loss(where, loss, labels, detail::token_sizes(student), options);
}

/// With a teacher given by its most probable words only.
/// \throws ConfigError if the teacher was taken at another temperature; ShapeError if its words are out of range or
/// repeated for a token (detected on the CPU only; elsewhere it would wait for the device)
inline at::Tensor token_divergence(const at::Tensor& student, const SparseTeacher& teacher,
                                   const at::Tensor& labels = {}, const TokenDivergence& options = {}) {
    constexpr std::string_view where = "token_divergence";
    options.check();
    detail::check_token_logits(where, "the student's logits", student);
    const at::IntArrayRef sizes = detail::token_sizes(student);
    detail::TokenLoss loss = detail::token_loss_of(options);
    loss.student = detail::flat_tokens(student);
    loss.teacher = detail::flat_sparse(where, teacher, sizes, student.size(-1), options.temperature);
    detail::check_same_device(where, "the student's logits", student, "the teacher's words", teacher.indices);
    return detail::run_token_loss(where, loss, labels, sizes, options);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor TokenDivergence::operator()(const Student& student, const Teacher& teacher, const B& batch) const {
    static_assert(HasLogits<Teacher> || detail::HasSparseTeacher<Teacher>,
                  "retort: TokenDivergence needs logits: the teacher's outputs have neither a member "
                  "`sparse_teacher` nor a member `logits`, and there is no function logits(outputs) in the "
                  "namespace of their type");
    const at::Tensor& own = detail::student_logits<TokenDivergence>(student);
    if constexpr (detail::HasSparseTeacher<Teacher>) {
        return functional::token_divergence(own, detail::sparse_teacher_of(teacher), detail::labels_of(batch),
                                            *this);
    } else {
        return functional::token_divergence(own, logits(teacher), detail::labels_of(batch), *this);
    }
}

inline void TokenDivergence::check() const {
    detail::check_range("TokenDivergence", "a temperature", temperature, detail::above(0));
    detail::check_beta("TokenDivergence", form, beta);
    detail::check_range("TokenDivergence", "a number of items", items, detail::at_least(0));
}

}  // namespace retort
