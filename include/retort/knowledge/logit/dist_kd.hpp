// SPDX-License-Identifier: BSL-1.0
/// \file
/// DIST: correlates the student's probabilities with the teacher's, by sample and by class.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/softmax.h>

#include <cstdint>
#include <string>

#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// One minus the Pearson correlation of student and teacher: over the classes of each sample, and over the samples of
/// each class.
///
/// Formula: \f$ \tau^2 [\beta (1 - \mathrm{mean}_i\,\rho(s_{i\cdot}, t_{i\cdot})) + \gamma (1 -
/// \mathrm{mean}_c\,\rho(s_{\cdot c}, t_{\cdot c}))] \f$ with \f$ s = \sigma(z_s / \tau) \f$, \f$ t =
/// \sigma(z_t / \tau) \f$.
/// Shapes: both logits [batch, classes]. (For dense prediction every pixel is a row.)
/// Gradient: to the student's logits.
/// Reduction: fixed, as the second part is that of the whole batch; it is omitted for a batch of one, which has no
/// correlation over samples.
/// Hazards: if a row or column of the student's is constant, the correlation is 0 and only epsilon keeps its gradient
/// finite: up to 1e8, which float16 cannot represent.
/// Source: Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022. The
/// defaults are theirs.
struct DistKd {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    /// How epsilon keeps the division by the norms finite.
    enum class Epsilon {
        added,    ///< to the product of the norms: the authors' code, MMRazor. Slightly above 0 at equality
        clamped,  ///< each norm is at least epsilon: torchdistill
    };

    double sample_weight = 1.0;  ///< beta
    double class_weight = 1.0;   ///< gamma
    double temperature = 1.0;    ///< tau, above 0
    Epsilon epsilon_is = Epsilon::added;
    double epsilon = 1e-8;  ///< above 0

    /// torchdistill; term weight 2 on ImageNet.
    static DistKd torch_distill() { return {.epsilon_is = Epsilon::clamped}; }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const {
        detail::check_range("DistKd", "a sample_weight", sample_weight, detail::at_least(0));
        detail::check_range("DistKd", "a class_weight", class_weight, detail::at_least(0));
        detail::check_temperature("DistKd", temperature);
        detail::check_range("DistKd", "an epsilon", epsilon, detail::above(0));
    }
    static std::string name() { return "dist_kd"; }
};

namespace functional {

/// See `DistKd`.
/// \throws ConfigError if an option is out of range; ShapeError if the logits do not match
inline at::Tensor dist_kd(const at::Tensor& student, const at::Tensor& teacher, const DistKd& options = {}) {
    options.check();
    const detail::TensorPair both = detail::logit_pair("dist_kd", student, teacher);
    const double temperature = options.temperature;
    const auto probabilities = [temperature](const at::Tensor& logits) {
        const at::Tensor scores = detail::at_least_float32(logits);
        return at::softmax(temperature == 1.0 ? scores : scores / temperature, 1);
    };
    const at::Tensor of_student = probabilities(both.student);
    const at::Tensor of_teacher = probabilities(detail::constant(both.teacher));
    // One minus the mean correlation along a dimension.
    const auto distance = [&](std::int64_t dimension) {
        // The mean probability of a sample is 1 / classes, whatever the logits.
        const auto centered = [&](const at::Tensor& probability) {
            return dimension == 1 ? probability - 1.0 / static_cast<double>(probability.size(1))
                                  : probability - probability.mean(dimension, /*keepdim=*/true);
        };
        const at::Tensor s = centered(of_student);
        const at::Tensor t = centered(of_teacher);
        const at::Tensor norm_s = at::linalg_vector_norm(s, 2, {dimension});
        const at::Tensor norm_t = at::linalg_vector_norm(t, 2, {dimension});
        const at::Tensor norms = options.epsilon_is == DistKd::Epsilon::added
                                     ? norm_s * norm_t + options.epsilon
                                     : norm_s.clamp_min(options.epsilon) * norm_t.clamp_min(options.epsilon);
        return 1 - ((s * t).sum(dimension) / norms).mean();
    };
    at::Tensor result = detail::scaled(distance(1), options.sample_weight);
    if (both.student.size(0) > 1) result = result + detail::scaled(distance(0), options.class_weight);
    return detail::scaled(result, temperature * temperature);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor DistKd::operator()(const Student& student, const Teacher& teacher, const B&) const {
    return functional::dist_kd(detail::student_logits<DistKd>(student),
                               detail::teacher_logits<DistKd>(teacher), *this);
}

}  // namespace retort
