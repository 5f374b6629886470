// SPDX-License-Identifier: BSL-1.0
/// \file
/// Relational knowledge distillation (RKD): distances and angles between the samples of a batch.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `Relational` and of `functional::relational`, `relational_distance` and `relational_angle`.
struct RelationalOptions {
    double distance_weight = 25;   ///< of the distances, in `relational`; 0 omits them
    double angle_weight = 50;      ///< of the angles, in `relational`; 0 omits them
    bool normalize_input = false;  ///< divide each sample's feature by its length first
    double epsilon = 1e-12;        ///< lower bound of squared distances; above 0
    Reduction reduction =
        Reduction::mean;  ///< elements are pairs of samples (distances) and triples (angles)
    /// How many triples of samples have their angles in memory at a time; 0: 2^18 on the CPU (2 MiB), 2^24 elsewhere.
    /// At least those of one sample (batch^2).
    std::int64_t block = 0;

    /// RepDistiller and mdistiller. The default.
    static RelationalOptions rep_distiller() { return {}; }
    /// mmrazor: normalizes features to unit length first.
    static RelationalOptions mmrazor() { return {.normalize_input = true}; }

    /// \throws ConfigError
    void check() const {
        detail::check_finite("Relational", "distance_weight", distance_weight);
        detail::check_finite("Relational", "angle_weight", angle_weight);
        detail::check_range("Relational", "an epsilon", epsilon, detail::above(0));
        detail::check_range("Relational", "a block", block, detail::at_least(0));
    }
};

namespace detail {

/// The distances of all pairs of rows; exactly 0 on the diagonal, at least sqrt(epsilon) elsewhere.
inline at::Tensor distances(const at::Tensor& rows, double epsilon) {
    const at::Tensor diagonal = at::eye(rows.size(0), rows.options().dtype(at::kBool));
    return squared_distances(rows).clamp_min(epsilon).sqrt().masked_fill(diagonal, 0);
}

/// The ingredients of the angles of a batch, in float64: the Gram matrix of the centered rows and the inverse
/// distances. Coinciding rows (up to 3e-7 of their length, or 1e-30) have no direction between them: their inverse distance is
/// set to 0, so that they count as right angles without gradient.
struct AngleParts {
    at::Tensor points, gram, norms, inverse;

    explicit AngleParts(const at::Tensor& rows) {
        const at::Tensor exact = rows.to(at::kDouble);
        points = exact - exact.mean(0, /*keepdim=*/true);
        gram = at::mm(points, points.t());
        norms = gram.diagonal().clone();
        const at::Tensor sums = norms.unsqueeze(1) + norms.unsqueeze(0);
        const at::Tensor squares = sums.sub(gram, 2);
        inverse = squares.rsqrt().masked_fill_(squares <= (sums * 1e-13).clamp_min(1e-60), 0);
    }
    /// The cosines of the angles at the samples first ... first + count - 1: [count, batch, batch].
    at::Tensor cosines(std::int64_t first, std::int64_t count) const {
        const at::Tensor at_sample = inverse.narrow(0, first, count);
        const at::Tensor half = gram.narrow(0, first, count)
                                    .sub(norms.narrow(0, first, count).unsqueeze(1), 0.5);  // of the vertex
        at::Tensor result = gram.unsqueeze(0) - half.unsqueeze(2);
        return result.sub_(half.unsqueeze(1)).mul_(at_sample.unsqueeze(2)).mul_(at_sample.unsqueeze(1));
    }
};

struct AngleLoss {
    at::Tensor per_vertex;  ///< [batch]: the mean over the pairs of others
    at::Tensor gradient;    ///< of their weighted sum with respect to the student's rows, if requested
};

/// Smooth L1 distance (beta 1) of all angles, block by block of vertices.
/// \param weights [batch] of the vertices; undefined: no gradient is computed
inline AngleLoss angle_loss(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights,
                            std::int64_t block) {
    const std::int64_t batch = student.size(0);
    const std::int64_t at_once = std::clamp<std::int64_t>(block / (batch * batch), 1, batch);
    const AngleParts own(student);
    const AngleParts goal(teacher);
    const double scale = 1.0 / (static_cast<double>(batch) * static_cast<double>(batch));
    AngleLoss result;
    result.per_vertex = at::empty({batch}, own.gram.options());
    at::Tensor by_gram;  // the gradient with respect to the Gram matrix
    at::Tensor by_norm;  // the gradient with respect to its diagonal
    if (weights.defined()) {
        by_gram = at::zeros({batch, batch}, own.gram.options());
        by_norm = at::zeros({batch}, own.gram.options());
    }
    for (std::int64_t first = 0; first < batch; first += at_once) {
        const std::int64_t count = std::min(at_once, batch - first);
        at::Tensor cosines = own.cosines(first, count);
        at::Tensor difference = goal.cosines(first, count).neg_().add_(cosines);
        at::Tensor slope = difference.clamp(-1, 1);
        // The loss is slope * (difference - slope / 2) on both branches.
        difference.sub_(slope, 0.5);
        result.per_vertex.narrow(0, first, count)
            .copy_(at::bmm(slope.view({count, 1, -1}), difference.view({count, -1, 1})).view({count}));
        if (!weights.defined()) continue;
        const at::Tensor inverse = own.inverse.narrow(0, first, count);
        const at::Tensor weighted =
            inverse * (weights.narrow(0, first, count).to(at::kDouble) * scale).unsqueeze(1);
        // With respect to the Gram matrix: each cosine is inverse * inverse * (G_bc - G_ab - G_ac + G_aa) at the vertex a.
        const at::Tensor by_side = at::bmm(slope, inverse.unsqueeze(2)).squeeze(2).mul_(weighted);
        // With respect to the squared distances, through the inverse ones.
        const at::Tensor by_square = cosines.mul_(slope).sum(2).mul_(weighted).mul_(inverse).neg_();
        by_gram.add_(slope.mul_(weighted.unsqueeze(2)).mul_(inverse.unsqueeze(1)).sum(0));
        by_gram.narrow(0, first, count).sub_(by_side + by_square, 2);
        by_norm.narrow(0, first, count).add_(by_side.sum(1)).add_(by_square.sum(1));
        by_norm.add_(by_square.sum(0));
    }
    result.per_vertex.mul_(scale);
    if (weights.defined()) {
        by_gram.diagonal().add_(by_norm);
        result.gradient = at::mm(by_gram + by_gram.t(), own.points).to(student.scalar_type());
    }
    result.per_vertex = result.per_vertex.to(student.scalar_type());
    return result;
}

/// The loss of the angles with a custom backward pass: neither pass keeps anything of size batch^3. For a scalar
/// loss, the gradient is computed with it; for per-vertex values the backward pass recomputes the angles.
class AngleLossFunction : public torch::autograd::Function<AngleLossFunction> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& student,
                              const at::Tensor& teacher, bool per_vertex, bool with_gradient,
                              std::int64_t block) {
        context->saved_data["per_vertex"] = per_vertex;
        context->saved_data["block"] = block;
        if (per_vertex) {
            context->save_for_backward({student, teacher});
            return angle_loss(student, teacher, {}, block).per_vertex;
        }
        const std::int64_t batch = student.size(0);
        at::Tensor weights;
        if (with_gradient) weights = at::full({batch}, 1.0 / static_cast<double>(batch), student.options());
        const AngleLoss loss = angle_loss(student, teacher, weights, block);
        if (with_gradient) context->save_for_backward({loss.gradient});
        return loss.per_vertex.mean();
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        if (at::GradMode::is_enabled()) {
            throw ConfigError("relational_angle: its gradient is not differentiable (create_graph)");
        }
        const auto saved = context->get_saved_variables();
        at::Tensor result;
        if (context->saved_data["per_vertex"].toBool()) {
            result =
                angle_loss(saved[0], saved[1], gradients[0], context->saved_data["block"].toInt()).gradient;
        } else {
            result = saved[0] * gradients[0];
        }
        return {result, {}, {}, {}, {}};
    }
};

/// The features of one batch, prepared according to the options.
inline TensorPair relational_rows(const char* where, const at::Tensor& student, const at::Tensor& teacher,
                                  const RelationalOptions& options) {
    options.check();
    TensorPair result = row_pair(where, student, teacher);
    if (options.normalize_input) {
        result.student = unit_rows(result.student);
        result.teacher = unit_rows(result.teacher);
    }
    return result;
}

inline at::Tensor relational_distance(const TensorPair& rows, const RelationalOptions& options) {
    const std::int64_t batch = rows.student.size(0);
    const auto relative = [&](const at::Tensor& feature) {
        const at::Tensor lengths = distances(feature, options.epsilon);
        // Only the distances of a sample to itself are 0.
        return batch == 1 ? lengths
                          : lengths / (lengths.sum() /
                                       (static_cast<double>(batch) * static_cast<double>(batch - 1)));
    };
    return reduce(at::smooth_l1_loss(relative(rows.student), relative(rows.teacher), at::Reduction::None),
                  options.reduction);
}

inline at::Tensor relational_angle(const TensorPair& rows, const RelationalOptions& options) {
    const std::int64_t batch = rows.student.size(0);
    const std::int64_t block = options.block > 0
                                   ? options.block
                                   : (rows.student.is_cpu() ? std::int64_t{1} << 18 : std::int64_t{1} << 24);
    at::Tensor value =
        AngleLossFunction::apply(rows.student, rows.teacher, options.reduction == Reduction::none,
                                 rows.student.requires_grad() && at::GradMode::is_enabled(), block);
    const auto count = static_cast<double>(batch);
    switch (options.reduction) {
        case Reduction::sum:
            return value * (count * count * count);
        case Reduction::batchmean:
            return value * (count * count);
        case Reduction::none:
        case Reduction::mean:
            break;
    }
    return value;
}

}  // namespace detail

namespace functional {

/// Smooth L1 distance of the relative distances between the samples of a batch.
///
/// Formula: \f$ \mathrm{mean}_{ij}\, \ell(d^s_{ij} / \bar d^s, d^t_{ij} / \bar d^t) \f$ with the Euclidean
/// distances d, their mean \f$ \bar d \f$ over i != j, and \f$ \ell \f$ the smooth L1 distance with beta 1.
/// The mean runs over all batch^2 pairs, including the zero diagonal.
/// Shapes: student [batch, ...], teacher [batch, ...]; the widths may differ.
/// Gradient: to the student's feature; the teacher's is a constant. Pairs closer than sqrt(epsilon) get none.
/// Reductions: `mean` over pairs (default), `batchmean`, `sum`, `none` (the mean of each sample's row).
/// Memory: batch^2.
/// Hazards: depends on the whole batch. A batch of one has no pairs: 0.
/// Source: Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019; means and epsilon as in the
/// released code.
/// \throws ShapeError, ConfigError
inline at::Tensor relational_distance(const at::Tensor& student, const at::Tensor& teacher,
                                      const RelationalOptions& options = {}) {
    return detail::relational_distance(
        detail::relational_rows("relational_distance", student, teacher, options), options);
}

/// Smooth L1 distance of the angles that the samples of a batch form.
///
/// Formula: \f$ \mathrm{mean}_{abc}\, \ell(\cos^s_{abc}, \cos^t_{abc}) \f$ with \f$ \cos_{abc} \f$ the cosine
/// of the angle at the sample a between the directions to b and to c, and \f$ \ell \f$ the smooth L1 distance
/// with beta 1. The mean runs over all batch^3 triples.
/// Shapes: student [batch, ...], teacher [batch, ...]; the widths may differ.
/// Gradient: to the student's feature; the teacher's is a constant. First derivatives only.
/// Reductions: `mean` over triples (default), `batchmean`, `sum`, `none` (the mean over the angles at each sample).
/// Memory: batch^2 and `block` triples in float64; time: batch^3, whatever the width. Released code keeps batch^3
/// cosines and batch^2 differences of the features' width.
/// Hazards: depends on the whole batch. Two equal rows have no direction between them: their cosines are 0, as in
/// released code, and have no gradient here, where released code divides by 1e-12.
/// Source: as `relational_distance`.
/// \throws ShapeError, ConfigError
inline at::Tensor relational_angle(const at::Tensor& student, const at::Tensor& teacher,
                                   const RelationalOptions& options = {}) {
    return detail::relational_angle(detail::relational_rows("relational_angle", student, teacher, options),
                                    options);
}

/// The weighted sum of `relational_distance` and `relational_angle`.
///
/// Formula: 25 distance + 50 angle by default (RepDistiller, mdistiller), with weight 1 outside.
/// \throws ShapeError, ConfigError
inline at::Tensor relational(const at::Tensor& student, const at::Tensor& teacher,
                             const RelationalOptions& options = {}) {
    const detail::TensorPair rows = detail::relational_rows("relational", student, teacher, options);
    at::Tensor result;
    if (options.distance_weight != 0 || options.angle_weight == 0) {
        result = detail::relational_distance(rows, options) * options.distance_weight;
    }
    if (options.angle_weight != 0) {
        const at::Tensor angle = detail::relational_angle(rows, options) * options.angle_weight;
        result = result.defined() ? result + angle : angle;
    }
    return result;
}

}  // namespace functional

/// `functional::relational` of a student's and a teacher's feature.
///
///     retort::Relational{retort::tap<&SmallOutputs::pooled>, retort::tap<&BigOutputs::pooled>}
template <class StudentTap, class TeacherTap>
class Relational
    : public detail::FunctionTerm<StudentTap, TeacherTap, RelationalOptions, &functional::relational> {
  public:
    explicit Relational(StudentTap student, TeacherTap teacher, RelationalOptions options = {})
        : Relational::FunctionTerm("relational", std::move(student), std::move(teacher), options) {}
};

/// Options of `HardDarkRank` and `functional::hard_dark_rank`.
struct HardDarkRankOptions {
    double alpha = 3;         ///< scale of the scores; above 0
    double beta = 3;          ///< power of the distances; above 0
    std::int64_t length = 4;  ///< how many neighbors are ranked; at least 1; fewer in a smaller batch
    double epsilon = 1e-12;   ///< lower bound of squared distances; above 0
    Reduction reduction =
        Reduction::batchmean;  ///< elements are samples; `batchmean` and `mean` are the same

    /// \throws ConfigError
    void check() const {
        detail::check_range("HardDarkRank", "an alpha", alpha, detail::above(0));
        detail::check_range("HardDarkRank", "a beta", beta, detail::above(0));
        detail::check_range("HardDarkRank", "an epsilon", epsilon, detail::above(0));
        detail::check_range("HardDarkRank", "a length", length, detail::at_least(1));
    }
};

namespace functional {

/// The negative log-likelihood of the teacher's ranking of each sample's nearest neighbors under the student's distances.
///
/// Formula: \f$ -\sum_{k=1}^{K} \log \frac{\exp s_{\pi(k)}}{\sum_{l \ge k} \exp s_{\pi(l)}} \f$, mean over
/// the samples, with the scores \f$ s = -\alpha d^\beta \f$ of the student's distances and \f$ \pi \f$ the K
/// nearest neighbors of the sample in the teacher's distances, nearest first.
/// Shapes: student [batch, ...], teacher [batch, ...]; the widths may differ. The features are used as they are;
/// normalize them first if they should have unit length.
/// Gradient: to the student's feature; the teacher's order is a constant.
/// Reductions: mean over the samples (default), `sum`, `none`. Not 0 at equality: it is a negative
/// log-likelihood.
/// Source: Chen, Wang, Zhang, "DarkRank: Accelerating Deep Metric Learning via Cross Sample Similarities
/// Transfer", AAAI 2018, in the form released with RKD.
/// \throws ShapeError, ConfigError
inline at::Tensor hard_dark_rank(const at::Tensor& student, const at::Tensor& teacher,
                                 const HardDarkRankOptions& options = {}) {
    options.check();
    const detail::TensorPair rows = detail::row_pair("hard_dark_rank", student, teacher);
    const std::int64_t length = std::min(options.length, rows.student.size(0) - 1);
    const at::Tensor own = detail::distances(rows.student, options.epsilon);
    const at::Tensor goal = detail::distances(rows.teacher, options.epsilon);
    // A sample's distance to itself is the only 0, so it comes first.
    const at::Tensor order =
        std::get<1>(goal.topk(length + 1, 1, /*largest=*/false, /*sorted=*/true)).narrow(1, 1, length);
    const at::Tensor scores = own.pow(options.beta).gather(1, order) * -options.alpha;
    at::Tensor value = -scores.sum(1);
    for (std::int64_t k = 0; k < length; ++k) {
        value = value + at::logsumexp(scores.narrow(1, k, length - k), at::IntArrayRef({1}));
    }
    return detail::reduce(value, options.reduction);
}

}  // namespace functional

/// `functional::hard_dark_rank` of a student's and a teacher's feature.
template <class StudentTap, class TeacherTap>
class HardDarkRank
    : public detail::FunctionTerm<StudentTap, TeacherTap, HardDarkRankOptions, &functional::hard_dark_rank> {
  public:
    explicit HardDarkRank(StudentTap student, TeacherTap teacher, HardDarkRankOptions options = {})
        : HardDarkRank::FunctionTerm("hard_dark_rank", std::move(student), std::move(teacher), options) {}
};

}  // namespace retort
