// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teachers given by their most probable words only.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/topk.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>

namespace retort {

/// A teacher's prediction for each token, reduced to its k most probable words; k words take some hundred bytes per
/// token, the whole distribution some hundred thousand. Created by `functional::sparse_teacher`, or loaded from
/// storage.
struct SparseTeacher {
    at::Tensor indices;            ///< [tokens, k] or [batch, time, k], int64: words, each at most once
    at::Tensor log_probabilities;  ///< the same shape: their log-probabilities among all words
    /// [tokens] or [batch, time]: the log-probability of all other words together. Undefined: computed as the
    /// complement of the k words, which is inexact if they leave little.
    at::Tensor log_rest{};
    double temperature = 1.0;  ///< at which the probabilities were computed
};

/// How a loss treats the probability that a `SparseTeacher` does not assign to its k words.
enum class SparseRest {
    /// All other words are a single event. The divergence of the two distributions of k + 1 events never exceeds that
    /// of the whole distributions, and is 0 if those are equal.
    bucket,
    /// All other words are equally probable.
    uniform,
    /// The other words are impossible, and the k words share their probability in proportion.
    renormalized,
};

namespace detail {

template <class O>
concept HasSparseTeacherMember = requires(const O& outputs) {
    requires std::same_as<std::remove_cvref_t<decltype((outputs.sparse_teacher))>, SparseTeacher>;
};
/// Outputs that are a `SparseTeacher`, or have a member `sparse_teacher`.
template <class O>
concept HasSparseTeacher = std::same_as<O, SparseTeacher> || HasSparseTeacherMember<O>;

template <HasSparseTeacher O>
const SparseTeacher& sparse_teacher_of(const O& outputs) {
    if constexpr (std::same_as<O, SparseTeacher>) {
        return outputs;
    } else {
        return outputs.sparse_teacher;
    }
}

/// Checks for words out of range or repeated, if that does not wait for a device.
/// \param ignored marks tokens to skip; may be null
inline void check_words(std::string_view where, const at::Tensor& indices, const bool* ignored,
                        std::int64_t vocabulary) {
    if (!indices.device().is_cpu()) return;
    const at::Tensor contiguous = indices.contiguous();
    const std::int64_t tokens = indices.size(0), words = indices.size(1);
    const auto* data = contiguous.data_ptr<std::int64_t>();
    std::vector<std::int64_t> last_seen(static_cast<std::size_t>(vocabulary), -1);
    for (std::int64_t token = 0; token < tokens; ++token) {
        if (ignored != nullptr && ignored[token]) continue;
        for (std::int64_t i = 0; i < words; ++i) {
            const std::int64_t word = data[token * words + i];
            if (word < 0 || word >= vocabulary) {
                throw ShapeError(concat(where, ": expected the teacher's words in [0, ", vocabulary,
                                        "), found ", word, " at token ", token));
            }
            if (last_seen[static_cast<std::size_t>(word)] == token) {
                throw ShapeError(concat(where, ": expected each of the teacher's words once, found ", word,
                                        " twice at token ", token));
            }
            last_seen[static_cast<std::size_t>(word)] = token;
        }
    }
}

/// \throws ShapeError if the parts do not match each other, or `vocabulary` words for each of `sizes` tokens
inline void check_sparse(std::string_view where, const SparseTeacher& teacher, at::IntArrayRef sizes,
                         std::int64_t vocabulary) {
    check_defined(where, "the teacher's words", teacher.indices);
    check_equal_shapes(where, "the teacher's words", teacher.indices, "their log-probabilities",
                       teacher.log_probabilities);
    const auto dimensions = static_cast<std::int64_t>(sizes.size());
    if (teacher.indices.dim() != dimensions + 1 || teacher.indices.sizes().slice(0, sizes.size()) != sizes ||
        teacher.indices.size(-1) < 1 || teacher.indices.size(-1) > vocabulary) {
        throw ShapeError(concat(where, ": expected the teacher's words of shape ", shape_text(sizes),
                                " and 1 to ", vocabulary, " of them for each, found ",
                                shape_text(teacher.indices)));
    }
    if (teacher.indices.scalar_type() != at::kLong || !teacher.log_probabilities.is_floating_point()) {
        throw ShapeError(
            concat(where,
                   ": expected the teacher's words of type Long and their log-probabilities of a "
                   "floating-point type, found ",
                   teacher.indices.scalar_type(), " and ", teacher.log_probabilities.scalar_type()));
    }
    if (teacher.log_rest.defined()) {
        if (teacher.log_rest.sizes() != sizes || !teacher.log_rest.is_floating_point()) {
            throw ShapeError(concat(where, ": expected the log-probability of the rest of shape ",
                                    shape_text(sizes), " and of a floating-point type, found ",
                                    shape_text(teacher.log_rest), " and ", teacher.log_rest.scalar_type()));
        }
        check_same_device(where, "the teacher's words", teacher.indices, "the log-probability of the rest",
                          teacher.log_rest);
    }
}

}  // namespace detail

namespace functional {

/// The k most probable words of each token, with the exact log-probability of the rest.
///
/// Shapes: logits [tokens, vocabulary] or [batch, time, vocabulary]; see `SparseTeacher` for the result,
/// which is float32 (float64 for float64 logits), without gradient.
/// \throws ConfigError if the temperature is not above 0; ShapeError if there are fewer than k words
inline SparseTeacher sparse_teacher(const at::Tensor& logits, std::int64_t k, double temperature = 1.0) {
    constexpr std::string_view where = "sparse_teacher";
    detail::check_defined(where, "logits", logits);
    if ((logits.dim() != 2 && logits.dim() != 3) || logits.numel() == 0 || !logits.is_floating_point()) {
        throw ShapeError(detail::concat(where,
                                        ": expected logits of shape [tokens, vocabulary] or [batch, time, "
                                        "vocabulary] and a floating-point type, found ",
                                        detail::shape_text(logits), " and ", logits.scalar_type()));
    }
    const std::int64_t vocabulary = logits.size(-1);
    if (k < 1 || k > vocabulary) {
        throw ShapeError(detail::concat(where, ": expected k in [1, ", vocabulary, "], found ", k));
    }
    detail::check_range(where, "a temperature", temperature, detail::above(0));
    const at::NoGradGuard no_gradient;
    const at::Tensor flat = logits.reshape({-1, vocabulary});
    const std::int64_t tokens = flat.size(0);
    const auto type = detail::at_least_float32(flat.narrow(0, 0, 1)).scalar_type();
    const at::Tensor indices = at::empty({tokens, k}, flat.options().dtype(at::kLong));
    const at::Tensor chosen = at::empty({tokens, k}, flat.options().dtype(type));
    const at::Tensor rest = at::empty({tokens}, flat.options().dtype(type));
    const std::int64_t chunk = std::max<std::int64_t>(1, (std::int64_t{1} << 22) / vocabulary);
    for (std::int64_t begin = 0; begin < tokens; begin += chunk) {
        const std::int64_t count = std::min(chunk, tokens - begin);
        at::Tensor scores = flat.narrow(0, begin, count).to(type);
        if (temperature != 1.0) scores = scores / temperature;
        scores = at::log_softmax(scores, 1);
        const auto [values, words] = at::topk(scores, k, 1);
        chosen.narrow(0, begin, count).copy_(values);
        indices.narrow(0, begin, count).copy_(words);
        scores.scatter_(1, words, -std::numeric_limits<double>::infinity());
        rest.narrow(0, begin, count).copy_(at::logsumexp(scores, 1));
    }
    auto shape = logits.sizes().vec();
    shape.back() = k;
    return {.indices = indices.reshape(shape),
            .log_probabilities = chosen.reshape(shape),
            .log_rest = rest.reshape(logits.sizes().slice(0, shape.size() - 1)),
            .temperature = temperature};
}

}  // namespace functional
}  // namespace retort
