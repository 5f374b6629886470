// SPDX-License-Identifier: BSL-1.0
/// \file
/// Singular vectors of feature maps (KDSVD): relations between the main directions of neighboring layers.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/core/reduction.hpp>
#include <retort/detail/relations.hpp>
#include <retort/knowledge/detail/decomposition.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/flow/solution_procedure.hpp>

namespace retort {

/// Options of `SingularVectors` and `functional::singular_vectors`.
struct SingularVectorsOptions {
    /// The matrix that a map [channels, height, width] becomes; its right singular vectors are compared.
    enum class Unfold {
        positions_by_channels,  ///< [height * width, channels]: vectors of channels
        channel_rows_by_width,  ///< [channels * height, width]: vectors of columns of the image
    };
    Unfold unfold = Unfold::positions_by_channels;
    std::int64_t count = 1;  ///< how many of the teacher's vectors are matched; at least 1
    std::int64_t extra = 3;  ///< how many more of the student's may match them; at least 0
    Reduction reduction = Reduction::batchmean;  ///< elements are those of the comparison of two layers

    /// RepDistiller. The default.
    static SingularVectorsOptions rep_distiller() { return {}; }
    /// mdistiller, except for its float32: here float64 stays float64.
    static SingularVectorsOptions mdistiller() { return {.unfold = Unfold::channel_rows_by_width}; }

    /// \throws ConfigError
    void check() const {
        detail::check_range("SingularVectors", "a count", count, detail::at_least(1));
        detail::check_range("SingularVectors", "an extra", extra, detail::at_least(0));
    }
};

namespace detail {

/// The first `count` right singular vectors of a batch of matrices [batch, rows, columns], as columns: [batch,
/// columns, count]. The backward pass stays finite if singular values are equal or 0: vectors that are only
/// determined up to rotation get no gradient for rotating. Signs are those of the decomposition.
class RightVectors : public torch::autograd::Function<RightVectors> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& matrices,
                              std::int64_t count, const std::string& what) {
        const auto [u, s, vh] = singular_values("singular_vectors", what, matrices);
        const at::Tensor v = vh.transpose(1, 2);
        context->save_for_backward({u, s, v});
        return v.narrow(2, 0, count).clone();
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        if (at::GradMode::is_enabled()) {
            throw ConfigError("singular_vectors: its gradient is not differentiable (create_graph)");
        }
        const auto saved = context->get_saved_variables();
        const at::Tensor& u = saved[0];
        const at::Tensor& s = saved[1];
        const at::Tensor& v = saved[2];
        const at::Tensor& given = gradients[0];
        const double precision =
            100 * (s.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon()
                                                  : std::numeric_limits<float>::epsilon());
        const auto inverse = [](const at::Tensor& value, double least) {
            return value.reciprocal().masked_fill_(value.abs() <= least, 0);
        };
        // The vectors do not depend on the scale: all is computed relative to the largest value, as squares of tiny ones
        // would be 0. Matrices smaller than 1e-30 count as zeros.
        const at::Tensor scale = inverse(s.narrow(1, 0, 1), 1e-30);
        const at::Tensor relative = s * scale;
        // The gradient of all vectors; 0 for those not requested.
        at::Tensor full = at::zeros(v.sizes(), v.options());
        full.narrow(2, 0, given.size(2)).copy_(given);
        const at::Tensor turned = at::matmul(v.transpose(1, 2), full);
        // dV = V (F * (S P + P^T S)) + (1 - V V^T) dA^T U S^-1 with P = U^T dA V, F_ij = 1 / (s_j^2 - s_i^2).
        const at::Tensor squares = relative.square();
        const at::Tensor gaps = inverse(squares.unsqueeze(1) - squares.unsqueeze(2), precision);
        const at::Tensor inner = gaps * turned;
        const at::Tensor middle = relative.unsqueeze(2) * (inner + inner.transpose(1, 2));
        const at::Tensor outside = full - at::matmul(v, turned);
        // U is the largest of them: it is used in one product only.
        const at::Tensor within =
            at::matmul(middle, v.transpose(1, 2))
                .add_(inverse(relative, precision).unsqueeze(2) * outside.transpose(1, 2));
        return {at::matmul(u, within).mul_(scale.unsqueeze(2)), {}, {}};
    }
};

/// Each map as a matrix: [batch, rows, columns].
inline at::Tensor unfolded(const at::Tensor& maps, SingularVectorsOptions::Unfold unfold) {
    const at::Tensor values = at_least_float32(maps);
    return unfold == SingularVectorsOptions::Unfold::positions_by_channels ? values.flatten(2).transpose(1, 2)
                                                                           : values.flatten(1, 2);
}

/// Unit vectors in columns, with the largest element of each made positive: a decomposition leaves their signs
/// undetermined, and the comparison of two layers depends on them.
inline at::Tensor with_fixed_signs(const at::Tensor& vectors) {
    const at::Tensor where = constant(vectors).abs().argmax(1, /*keepdim=*/true);
    const at::Tensor largest = constant(vectors).gather(1, where);
    return at::where(largest < 0, -vectors, vectors);
}

/// The compared quantities of one layer of the teacher: vectors [batch, columns, count] and their weights [batch, 1,
/// count].
struct SingularLayer {
    at::Tensor vectors, weights;
};

inline SingularLayer singular_layer(const at::Tensor& teacher, const SingularVectorsOptions& options,
                                    std::string_view what = "the teacher's layer") {
    const at::Tensor matrices = unfolded(constant(teacher), options.unfold);
    const auto [u, s, vh] = singular_values("singular_vectors", what, matrices);
    const std::int64_t count = std::min(options.count, s.size(1));
    const at::Tensor values = s.narrow(1, 0, count);
    return {with_fixed_signs(vh.transpose(1, 2).narrow(2, 0, count)), unit_rows(values).unsqueeze(1)};
}

/// The student's vectors closest to each of the teacher's, with matching sign.
inline at::Tensor matched_vectors(const at::Tensor& student, const at::Tensor& goal,
                                  const SingularVectorsOptions& options, const std::string& what) {
    const at::Tensor matrices = unfolded(student, options.unfold);
    const std::int64_t most = std::min(matrices.size(1), matrices.size(2));
    const at::Tensor vectors =
        RightVectors::apply(matrices, std::min(options.count + options.extra, most), what);
    const at::Tensor cosines = at::matmul(constant(vectors).transpose(1, 2), goal);
    const at::Tensor best = cosines.abs().argmax(1, /*keepdim=*/true);
    const at::Tensor choice = at::zeros_like(cosines).scatter(1, best, cosines.gather(1, best).sign());
    return at::matmul(vectors, choice);
}

/// The differences between student and teacher in the relations between the vectors of two layers, [batch, size, count]
/// each, summed per sample: \f$ \sum (\exp(-(a \ominus b)^2 / 8) - \exp(-(a^t \ominus b^t)^2 / 8))^2 \f$
/// over all pairs of elements. The gradient is computed with the value, so that no tensor of all pairs outlives the
/// forward pass.
class PairDifferences : public torch::autograd::Function<PairDifferences> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& deeper,
                              const at::Tensor& other, const at::Tensor& goal_deeper,
                              const at::Tensor& goal_other, bool with_gradient) {
        const at::Tensor apart = deeper.unsqueeze(2) - other.unsqueeze(1);
        const at::Tensor kernel = apart.square().div_(-8).exp_();
        at::Tensor error = goal_deeper.unsqueeze(2) - goal_other.unsqueeze(1);
        error.square_().div_(-8).exp_().neg_().add_(kernel);
        const at::Tensor value = error.square().flatten(1).sum(1);
        if (with_gradient) {
            error.mul_(kernel).mul_(apart).mul_(-0.5);
            context->save_for_backward({error.sum(2), error.sum(1).neg_()});
        }
        return value;
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        if (at::GradMode::is_enabled()) {
            throw ConfigError("singular_vectors: its gradient is not differentiable (create_graph)");
        }
        const auto saved = context->get_saved_variables();
        const at::Tensor factor = gradients[0].unsqueeze(1).unsqueeze(2);
        return {saved[0] * factor, saved[1] * factor, {}, {}, {}};
    }
};

/// The sum of the comparisons of neighboring layers, given the teacher's vectors; per sample, or reduced.
inline at::Tensor singular_differences(const std::vector<at::Tensor>& student,
                                       const std::vector<SingularLayer>& teacher,
                                       const SingularVectorsOptions& options) {
    at::Tensor result;
    at::Tensor own_before;
    at::Tensor goal_before;
    for (std::size_t layer = 0; layer < student.size(); ++layer) {
        const SingularLayer& given = teacher[layer];
        at::Tensor own =
            matched_vectors(student[layer], given.vectors, options, concat("the student's layer ", layer)) *
            given.weights;
        at::Tensor goal = given.vectors * given.weights;
        if (layer > 0) {
            const std::int64_t count = std::min(own.size(2), own_before.size(2));
            const auto first = [count](const at::Tensor& each) {
                return each.size(2) == count ? each : each.narrow(2, 0, count);
            };
            const bool with_gradient =
                at::GradMode::is_enabled() && (own.requires_grad() || own_before.requires_grad());
            const at::Tensor sums = PairDifferences::apply(first(own), first(own_before), first(goal),
                                                           first(goal_before), with_gradient);
            const double items =
                divisor(options.reduction, own.size(0), own.size(1) * own_before.size(1) * count);
            at::Tensor value = options.reduction == Reduction::none ? sums : sums.sum();
            if (items != 1) value = value / items;
            result = result.defined() ? result + value : value;
        }
        own_before = own;
        goal_before = goal;
    }
    return result;
}

}  // namespace detail

namespace functional {

/// Relations between the main directions of neighboring layers.
///
/// Formula: each map becomes a matrix; V_l are its first right singular vectors times the teacher's singular values
/// (divided by their length). With \f$ R_l = \exp(-(V_l \ominus V_{l-1})^2 / 8) \f$ for all pairs of elements of the
/// l-th and the (l-1)-th layer's k-th vectors, the loss is \f$ \frac1B \sum_l \sum (R^s_l - R^t_l)^2 \f$. For each of
/// the teacher's vectors, the one of largest absolute cosine among the student's first `count` + `extra` is used,
/// with matching sign.
/// Shapes: lists from shallow to deep of [batch, channels, height, width]; the length of the vectors (channels, or
/// width if unfolded that way) is equal in student and teacher.
/// Gradient: to the student's layers, through the decomposition; the teacher's are constants. Equal or zero singular
/// values give no infinite gradients. First derivatives only.
/// Reductions, per pair of layers: `batchmean` (default), `sum`, `mean` over all elements, `none` (the sum of each
/// sample).
/// Hazards: a decomposition leaves the signs of the vectors undetermined, and the value depends on the relative signs
/// of neighboring layers, up to a hundredfold in released code. Here the largest element of each of the teacher's
/// vectors is positive. RepDistiller and mdistiller unfold differently: not the same loss.
/// Source: Lee, Kim, Song, "Self-supervised Knowledge Distillation Using Singular Value Decomposition", ECCV
/// 2018, in the form of RepDistiller, with weight 1.
/// \throws ShapeError, ConfigError; NonFiniteError if a layer holds NaN or an infinity, which no decomposition has
inline at::Tensor singular_vectors(const std::vector<at::Tensor>& student,
                                   const std::vector<at::Tensor>& teacher,
                                   const SingularVectorsOptions& options = {}) {
    options.check();
    const detail::LayerPairs both = detail::layer_pairs("singular_vectors", student, teacher);
    const bool channels = options.unfold == SingularVectorsOptions::Unfold::positions_by_channels;
    std::vector<detail::SingularLayer> goal;
    for (std::size_t layer = 0; layer < both.student.size(); ++layer) {
        const std::int64_t dimension = channels ? 1 : 3;
        if (both.student[layer].size(dimension) != both.teacher[layer].size(dimension)) {
            throw ShapeError(detail::concat(
                "singular_vectors: expected layers of equal ", channels ? "channels" : "widths", ", found ",
                detail::shape_text(both.student[layer]), " of the student and ",
                detail::shape_text(both.teacher[layer]), " of the teacher at layer ", layer));
        }
        goal.push_back(detail::singular_layer(both.teacher[layer], options,
                                              detail::concat("the teacher's layer ", layer)));
    }
    return detail::singular_differences(both.student, goal, options);
}

}  // namespace functional

/// `functional::singular_vectors` of several layers of a student and of a teacher.
///
///     retort::SingularVectors{retort::Taps{early, middle, late}, retort::Taps{early, middle, late}}
template <class StudentTaps, class TeacherTaps>
class SingularVectors : public detail::FunctionTerm<StudentTaps, TeacherTaps, SingularVectorsOptions,
                                                    &functional::singular_vectors> {
  public:
    explicit SingularVectors(StudentTaps student, TeacherTaps teacher, SingularVectorsOptions options = {})
        : SingularVectors::FunctionTerm("singular_vectors", std::move(student), std::move(teacher), options) {
    }
};

}  // namespace retort
