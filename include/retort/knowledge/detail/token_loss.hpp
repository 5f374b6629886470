// SPDX-License-Identifier: BSL-1.0
/// \file
/// The engine of the losses on language-model logits: processes tokens in chunks and computes value and gradient of
/// each chunk together, so that only the gradient is ever as large as the logits, and, for hidden states and a
/// projection, not even that.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <variant>

#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/parallel.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/row_divergence.hpp>
#include <retort/knowledge/logit/projected_logits.hpp>
#include <retort/knowledge/logit/sparse_teacher.hpp>

namespace retort::detail {

/// Everything a loss on tokens depends on. Tensors are flat: [tokens, ...].
struct TokenLoss {
    std::variant<at::Tensor, ProjectedLogits> student{};
    std::variant<at::Tensor, ProjectedLogits, SparseTeacher> teacher{};
    at::Tensor labels{};   ///< may be undefined
    at::Tensor ignored{};  ///< tokens to ignore; undefined: none

    RowDivergence divergence{};
    SparseRest rest = SparseRest::bucket;
    double temperature = 1.0;
    double soft_weight = 1.0;  ///< includes T^2, if used
    double hard_weight = 0.0;
    bool pad_vocabulary = false;

    bool per_token = false;             ///< one value per token
    double scale = 1.0;                 ///< of the sum over tokens
    bool over_counted = false;          ///< also divide by the number of counted tokens
    std::int64_t tokens_per_chunk = 0;  ///< 0: chosen automatically

    bool projected() const { return std::holds_alternative<ProjectedLogits>(student); }
    /// The logits, or the hidden states.
    const at::Tensor& first() const {
        return projected() ? std::get<ProjectedLogits>(student).hidden : std::get<at::Tensor>(student);
    }
    std::int64_t tokens() const { return first().size(0); }
    std::int64_t vocabulary() const {
        return projected() ? std::get<ProjectedLogits>(student).weight.size(0) : first().size(1);
    }
    at::ScalarType type() const {
        const auto given = first().scalar_type();
        return given == at::kHalf || given == at::kBFloat16 ? at::kFloat : given;
    }
    /// Beside a teacher in float64 the student counts in float64 too; 16-bit types are widened block by block.
    void widen_student(at::ScalarType of_teacher) {
        if (of_teacher != at::kDouble || type() == at::kDouble) return;
        if (auto* projected = std::get_if<ProjectedLogits>(&student)) {
            projected->hidden = projected->hidden.to(at::kDouble);
            projected->weight = projected->weight.to(at::kDouble);
            if (projected->bias.defined()) projected->bias = projected->bias.to(at::kDouble);
        } else {
            student = std::get<at::Tensor>(student).to(at::kDouble);
        }
    }
};

/// What the engine computes.
struct TokenLossResult {
    at::Tensor values;  ///< [tokens]
    at::Tensor first, weight,
        bias{};  ///< gradients, of the logits or of the hidden states and the projection
};
struct TokenLossWanted {
    bool first = false, weight = false, bias = false;
    bool any() const { return first || weight || bias; }
};

/// How many tokens to process at once. Small chunks stay in a CPU's cache; a GPU needs large ones, and so do matrix
/// products.
inline std::int64_t tokens_at_once(std::int64_t elements, std::int64_t tokens, std::int64_t vocabulary) {
    const std::int64_t most = std::clamp<std::int64_t>(elements / vocabulary, 1, tokens);
    const std::int64_t pieces = (tokens + most - 1) / most;
    return (tokens + pieces - 1) / pieces;  // pieces of equal size
}

class TokenLossEngine {
  public:
    explicit TokenLossEngine(const TokenLoss& loss)
        : loss_(loss),
          type_(loss.type()),
          vocabulary_(loss.vocabulary()),
          on_cpu_(loss.first().device().is_cpu()) {
        const std::int64_t tokens = loss.tokens();
        const std::int64_t piece = on_cpu_ ? 1 << 17 : 1 << 25;
        const std::int64_t product = on_cpu_ ? 1 << 23 : 1 << 26;
        rows_ = tokens_at_once(piece, tokens, vocabulary_);
        chunk_ = tokens;
        if (loss.tokens_per_chunk > 0) {
            chunk_ = std::min(loss.tokens_per_chunk, tokens);
        } else if (loss.projected() || std::holds_alternative<ProjectedLogits>(loss.teacher)) {
            chunk_ = tokens_at_once(product, tokens, vocabulary_);
        }
        if (const auto* sparse = std::get_if<SparseTeacher>(&loss.teacher)) prepare(*sparse);
    }

    /// \param weights [tokens]: weight of each token in the gradients
    TokenLossResult run(const at::Tensor& weights, const TokenLossWanted& wanted) const {
        const std::int64_t tokens = loss_.tokens();
        TokenLossResult result;
        result.values = at::empty({tokens}, options());
        Accumulator accumulator{wanted, result};
        if (!loss_.projected() && wanted.first) {
            result.first = at::empty({tokens, vocabulary_}, loss_.first().options());
        }
        for (std::int64_t begin = 0; begin < tokens; begin += chunk_) {
            const std::int64_t count = std::min(chunk_, tokens - begin);
            const at::Tensor student = logits_of(loss_.student, begin, count);
            const at::Tensor teacher =
                loss_.soft_weight != 0 ? logits_of(loss_.teacher, begin, count) : at::Tensor();
            // The gradient with respect to projected logits overwrites the logits.
            const at::Tensor gradient = !wanted.any()       ? at::Tensor()
                                        : loss_.projected() ? student
                                                            : result.first.narrow(0, begin, count);
            for_each_piece(count, [&](std::int64_t row, std::int64_t rows) {
                const RowDivergenceResult piece = rows_of(
                    student.narrow(0, row, rows), teacher.defined() ? teacher.narrow(0, row, rows) : teacher,
                    begin + row, wanted.any());
                result.values.narrow(0, begin + row, rows).copy_(piece.value);
                if (!wanted.any()) return;
                at::Tensor out = gradient.narrow(0, row, rows);
                at::mul_out(out, piece.gradient, weights.narrow(0, begin + row, rows).unsqueeze(1));
                if (loss_.ignored.defined()) {
                    out.masked_fill_(loss_.ignored.narrow(0, begin + row, rows).unsqueeze(1), 0);
                }
            });
            if (loss_.projected() && wanted.any()) {
                accumulator.add(std::get<ProjectedLogits>(loss_.student), gradient, begin, count);
            }
        }
        accumulator.finish(loss_.first().scalar_type());
        if (loss_.ignored.defined()) result.values.masked_fill_(loss_.ignored, 0);
        return result;
    }

  private:
    /// Calls `work(first row, rows)` for all pieces of a chunk.
    template <class Work>
    void for_each_piece(std::int64_t count, const Work& work) const {
        if (on_cpu_) return parallel_pieces(count, rows_, work);
        for (std::int64_t row = 0; row < count; row += rows_) work(row, std::min(rows_, count - row));
    }

    /// Gradients of hidden states and projection, chunk by chunk. Those of the projection are sums over chunks, kept
    /// in float32 if the type has 16 bits.
    struct Accumulator {
        const TokenLossWanted& wanted;
        TokenLossResult& result;

        void add(const ProjectedLogits& student, const at::Tensor& gradient, std::int64_t begin,
                 std::int64_t count) {
            const bool whole = count == student.hidden.size(0);
            if (wanted.first) {
                if (!result.first.defined())
                    result.first = at::empty_like(student.hidden, at::MemoryFormat::Contiguous);
                at::Tensor slice = result.first.narrow(0, begin, count);
                at::mm_out(slice, gradient, student.weight);
            }
            if (wanted.weight) {
                const at::Tensor hidden = student.hidden.narrow(0, begin, count);
                if (whole || !result.weight.defined()) {
                    result.weight = at_least_float32(whole, at::mm(gradient.t(), hidden));
                } else if (result.weight.scalar_type() == hidden.scalar_type()) {
                    result.weight.addmm_(gradient.t(), hidden);
                } else {
                    result.weight.add_(at::mm(gradient.t(), hidden));
                }
            }
            if (wanted.bias) {
                const at::Tensor sum = at_least_float32(whole, gradient.sum(0));
                result.bias = result.bias.defined() ? result.bias.add_(sum) : sum;
            }
        }
        void finish(at::ScalarType type) {
            if (result.weight.defined()) result.weight = result.weight.to(type);
            if (result.bias.defined()) result.bias = result.bias.to(type);
        }
        static at::Tensor at_least_float32(bool whole, const at::Tensor& sum) {
            return whole ? sum : detail::at_least_float32(sum);
        }
    };

    at::TensorOptions options() const { return loss_.first().options().dtype(type_); }

    /// The words of a sparse teacher and their log-probabilities, followed by that of the rest; sums to 1.
    void prepare(const SparseTeacher& teacher) {
        words_ = teacher.indices;
        // Ignored tokens may have any indices.
        if (loss_.ignored.defined()) words_ = words_.masked_fill(loss_.ignored.unsqueeze(1), 0);
        const at::Tensor chosen = teacher.log_probabilities.to(type_);
        at::Tensor rest;
        if (loss_.rest == SparseRest::renormalized) {
            rest = at::full({chosen.size(0)}, -std::numeric_limits<double>::infinity(), options());
        } else if (teacher.log_rest.defined()) {
            rest = teacher.log_rest.to(type_);
        } else {
            rest = at::logsumexp(chosen, 1).clamp_max_(0).expm1_().neg_().log_();
        }
        const at::Tensor all = at::cat({chosen, rest.unsqueeze(1)}, 1);
        sparse_ = at::log_softmax(all, 1);
    }

    static at::Tensor project(const ProjectedLogits& logits, std::int64_t begin, std::int64_t count) {
        const at::Tensor hidden = logits.hidden.narrow(0, begin, count);
        return logits.bias.defined() ? at::addmm(logits.bias, hidden, logits.weight.t())
                                     : at::mm(hidden, logits.weight.t());
    }
    template <class Side>
    static at::Tensor logits_of(const Side& side, std::int64_t begin, std::int64_t count) {
        if (const auto* projected = std::get_if<ProjectedLogits>(&side))
            return project(*projected, begin, count);
        if (const auto* whole = std::get_if<at::Tensor>(&side)) return whole->narrow(0, begin, count);
        return {};
    }

    /// Log-probabilities in newly allocated memory.
    at::Tensor log_probabilities(const at::Tensor& logits, double temperature,
                                 std::int64_t vocabulary) const {
        at::Tensor scores = logits.scalar_type() == type_ ? logits : logits.to(type_);
        if (temperature != 1.0) scores = scores / temperature;
        if (vocabulary > scores.size(1))
            scores = at::constant_pad_nd(scores, {0, vocabulary - scores.size(1)}, 0);
        return at::log_softmax(scores, 1);
    }

    /// Weighted values of some tokens, and if requested the gradients with respect to their logits.
    RowDivergenceResult rows_of(const at::Tensor& student, const at::Tensor& teacher, std::int64_t begin,
                                bool with_gradient) const {
        RowDivergenceResult soft;
        if (loss_.soft_weight != 0) {
            soft = teacher.defined() ? dense_rows(student, teacher, with_gradient)
                                     : sparse_rows(student, begin, with_gradient);
            if (loss_.soft_weight != 1) soft.value.mul_(loss_.soft_weight);
            const double slope = loss_.soft_weight / loss_.temperature;
            if (with_gradient && slope != 1) soft.gradient.mul_(slope);
            if (loss_.hard_weight == 0) return soft;
        }
        RowDivergenceResult hard = hard_rows(student, begin, with_gradient);
        hard.value.mul_(loss_.hard_weight);
        if (with_gradient) hard.gradient.mul_(loss_.hard_weight);
        if (loss_.soft_weight != 0) {
            hard.value.add_(soft.value);
            if (with_gradient) hard.gradient.add_(soft.gradient);
        }
        return hard;
    }

    RowDivergenceResult dense_rows(const at::Tensor& student, const at::Tensor& teacher,
                                   bool with_gradient) const {
        const std::int64_t both = std::max(student.size(1), teacher.size(1));
        RowDivergenceResult result = row_divergence(log_probabilities(student, loss_.temperature, both),
                                                    log_probabilities(teacher, loss_.temperature, both),
                                                    loss_.divergence, with_gradient);
        if (with_gradient && both != student.size(1)) {
            result.gradient = result.gradient.narrow(1, 0, student.size(1));
        }
        return result;
    }

    RowDivergenceResult sparse_rows(const at::Tensor& student, std::int64_t begin, bool with_gradient) const {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        const std::int64_t rows = student.size(0);
        const at::Tensor words = words_.narrow(0, begin, rows);
        const std::int64_t k = words.size(1);
        const at::Tensor known = sparse_.narrow(0, begin, rows);
        if (loss_.rest == SparseRest::uniform) {
            const double others = std::log(static_cast<double>(std::max<std::int64_t>(1, vocabulary_ - k)));
            at::Tensor whole = known.narrow(1, k, 1).sub(others).expand({rows, vocabulary_}).contiguous();
            whole.scatter_(1, words, known.narrow(1, 0, k));
            return row_divergence(log_probabilities(student, loss_.temperature, 0), std::move(whole),
                                  loss_.divergence, with_gradient);
        }
        // The student's logits of the k words and of the rest as a single event: the logsumexp of the rest.
        at::Tensor scores = student.to(type_, /*non_blocking=*/false, /*copy=*/true);
        if (loss_.temperature != 1.0) scores.div_(loss_.temperature);
        const at::Tensor chosen = scores.gather(1, words);
        scores.scatter_(1, words, -infinity);
        const at::Tensor rest = at::logsumexp(scores, 1, /*keepdim=*/true);
        RowDivergenceResult result = row_divergence(at::log_softmax(at::cat({chosen, rest}, 1), 1),
                                                    known.clone(), loss_.divergence, with_gradient);
        if (with_gradient) {
            // Within the rest the gradient is distributed by probability; an impossible rest has none.
            const at::Tensor within = scores.sub_(rest.masked_fill(rest.eq(-infinity), 0)).exp_();
            within.mul_(result.gradient.narrow(1, k, 1));
            within.scatter_(1, words, result.gradient.narrow(1, 0, k));
            result.gradient = within;
        }
        return result;
    }

    /// Cross-entropy with the labels, at temperature 1.
    RowDivergenceResult hard_rows(const at::Tensor& student, std::int64_t begin, bool with_gradient) const {
        const std::int64_t rows = student.size(0);
        at::Tensor labels = loss_.labels.narrow(0, begin, rows);
        if (loss_.ignored.defined()) labels = labels.masked_fill(loss_.ignored.narrow(0, begin, rows), 0);
        labels = labels.unsqueeze(1);
        at::Tensor scores = log_probabilities(student, 1.0, 0);
        RowDivergenceResult result{scores.gather(1, labels).squeeze(1).neg_(), {}};
        if (with_gradient) {
            result.gradient = scores.exp_();
            result.gradient.scatter_add_(1, labels, at::full({1, 1}, -1.0, options()).expand({rows, 1}));
        }
        return result;
    }

    const TokenLoss& loss_;
    at::ScalarType type_;
    std::int64_t vocabulary_;
    bool on_cpu_;
    std::int64_t rows_ = 1;   ///< tokens of a piece
    std::int64_t chunk_ = 1;  ///< tokens of a matrix product
    at::Tensor words_, sparse_;
};

/// [tokens]: the weights of the tokens in the mean or sum; 1 for values per token.
inline at::Tensor token_weights(const TokenLoss& loss) {
    const auto options = loss.first().options().dtype(loss.type());
    if (!loss.ignored.defined()) {
        double scale = loss.scale;
        if (loss.over_counted) scale /= static_cast<double>(loss.tokens());
        return at::full({loss.tokens()}, scale, options);
    }
    at::Tensor weights = loss.ignored.logical_not().to(loss.type());
    if (loss.over_counted) weights.div_(weights.sum().clamp_min_(1));
    return loss.scale == 1.0 ? weights : weights.mul_(loss.scale);
}

/// The loss as a node of autograd. Value and gradient are computed in the forward pass together; the backward pass
/// scales. Values per token of projected logits are the exception: the gradient of the projection mixes the tokens,
/// so the backward pass iterates over them again.
struct TokenLossFunction : torch::autograd::Function<TokenLossFunction> {
    using Context = torch::autograd::AutogradContext;
    using Tensors = torch::autograd::variable_list;

    struct Kept : torch::CustomClassHolder {
        explicit Kept(TokenLoss kept) : loss(std::move(kept)) {}
        TokenLoss loss;
    };

    static at::Tensor forward(Context* context, const TokenLoss& loss, const TokenLossWanted& wanted,
                              const at::Tensor& first, const at::Tensor& weight, const at::Tensor& bias) {
        const bool again = loss.per_token && loss.projected();
        const at::Tensor weights = token_weights(loss);
        const TokenLossResult result = TokenLossEngine(loss).run(weights, again ? TokenLossWanted{} : wanted);
        context->saved_data["per_token"] = loss.per_token;
        context->saved_data["again"] = again;
        if (again) {
            context->save_for_backward({first, weight, bias});
            TokenLoss kept = loss;
            kept.student = at::Tensor();
            context->saved_data["loss"] =
                c10::IValue::make_capsule(c10::make_intrusive<Kept>(std::move(kept)));
            context->saved_data["wanted"] =
                static_cast<std::int64_t>(wanted.first + 2 * wanted.weight + 4 * wanted.bias);
        } else {
            context->save_for_backward({result.first, result.weight, result.bias});
        }
        return loss.per_token ? result.values : result.values.mul(weights).sum();
    }

    static Tensors backward(Context* context, const Tensors& incoming) {
        if (at::GradMode::is_enabled()) {
            throw ConfigError(
                "token divergence: expected a first derivative, found a graph of the gradient requested "
                "(create_graph); second derivatives are not supported");
        }
        const Tensors saved = context->get_saved_variables();
        const at::Tensor& outer = incoming.at(0);
        if (context->saved_data["again"].toBool()) {
            const auto kept =
                c10::static_intrusive_pointer_cast<Kept>(context->saved_data["loss"].toCapsule());
            const std::int64_t wanted = context->saved_data["wanted"].toInt();
            TokenLoss loss = kept->loss;
            loss.student =
                ProjectedLogits{saved[0], saved[1], saved[2].numel() > 0 ? saved[2] : at::Tensor()};
            const TokenLossResult result = TokenLossEngine(loss).run(
                outer.contiguous(),
                {.first = (wanted & 1) != 0, .weight = (wanted & 2) != 0, .bias = (wanted & 4) != 0});
            return {at::Tensor(), at::Tensor(), result.first, result.weight, result.bias};
        }
        // In place if the unscaled gradient cannot be needed again: it may be the largest tensor of all.
        const bool keep = torch::autograd::get_current_graph_task_keep_graph();
        const at::Tensor factor = context->saved_data["per_token"].toBool() ? outer.unsqueeze(1) : outer;
        const auto scaled = [&](const at::Tensor& gradient) -> at::Tensor {
            if (!gradient.defined()) return {};
            at::Tensor out = keep ? at::empty_like(gradient) : gradient;
            at::mul_out(out, gradient, factor);
            return out;
        };
        return {at::Tensor(), at::Tensor(), scaled(saved[0]), scaled(saved[1]), scaled(saved[2])};
    }
};

/// The value of the loss: [tokens] if per token, else a scalar.
inline at::Tensor token_loss(const TokenLoss& loss) {
    const at::Tensor& first = loss.first();
    const auto* projected = std::get_if<ProjectedLogits>(&loss.student);
    TokenLossWanted wanted;
    if (at::GradMode::is_enabled()) {
        wanted.first = first.requires_grad();
        wanted.weight = projected != nullptr && projected->weight.requires_grad();
        wanted.bias = projected != nullptr && projected->bias.defined() && projected->bias.requires_grad();
    }
    if (wanted.any()) {
        // Absent tensors are passed as empty ones: autograd counts defined arguments.
        const at::Tensor nothing = at::empty({0}, first.options());
        const at::Tensor bias = projected != nullptr && projected->bias.defined() ? projected->bias : nothing;
        return TokenLossFunction::apply(loss, wanted, first,
                                        projected != nullptr ? projected->weight : nothing, bias);
    }
    const at::NoGradGuard no_gradient;
    const at::Tensor values = TokenLossEngine(loss).run({}, {}).values;
    return loss.per_token ? values : values.mul(token_weights(loss)).sum();
}

/// Fills in which tokens count. Labels have the shape of the tokens and are int64.
/// \throws ShapeError
inline void count_tokens(std::string_view where, TokenLoss& loss, const at::Tensor& labels,
                         at::IntArrayRef sizes, std::int64_t ignore_index) {
    if (labels.defined()) {
        if (labels.sizes() != sizes || labels.scalar_type() != at::kLong) {
            throw ShapeError(concat(where, ": expected labels of shape ", shape_text(sizes),
                                    " and type Long, one for each token, found ", shape_text(labels), " and ",
                                    labels.scalar_type()));
        }
        check_same_device(where, "the student's side", loss.first(), "labels", labels);
        loss.labels = labels.reshape({-1});
        loss.ignored = loss.labels.eq(ignore_index);
        if (loss.hard_weight != 0 && labels.device().is_cpu()) {
            const at::Tensor contiguous = loss.labels.contiguous();
            const auto* label = contiguous.data_ptr<std::int64_t>();
            for (std::int64_t token = 0; token < contiguous.numel(); ++token) {
                if (label[token] != ignore_index && (label[token] < 0 || label[token] >= loss.vocabulary())) {
                    throw ShapeError(concat(where, ": expected labels in [0, ", loss.vocabulary(), ") or ",
                                            ignore_index, " (ignored), found ", label[token], " at token ",
                                            token));
                }
            }
        }
    } else if (loss.hard_weight != 0) {
        throw ShapeError(concat(where, ": expected labels for the hard part, found an undefined tensor"));
    }
    if (const auto* sparse = std::get_if<SparseTeacher>(&loss.teacher)) {
        const bool* ignored = loss.ignored.defined() && loss.ignored.device().is_cpu()
                                  ? loss.ignored.data_ptr<bool>()
                                  : nullptr;
        check_words(where, sparse->indices, ignored, loss.vocabulary());
    }
}

/// Fills in how the values of the tokens are reduced.
/// \param items the divisor; 0: the number of counted tokens
inline void reduce_tokens(TokenLoss& loss, Reduction reduction, double items) {
    loss.per_token = reduction == Reduction::none;
    if (reduction == Reduction::batchmean || reduction == Reduction::mean) {
        loss.over_counted = items == 0;
        if (items != 0) loss.scale /= items;
        if (reduction == Reduction::mean) loss.scale /= static_cast<double>(loss.vocabulary());
    }
}

}  // namespace retort::detail
