// SPDX-License-Identifier: BSL-1.0
/// \file
/// Decoupled knowledge distillation: separate weights for the target class and the others.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>

#include <cstdint>
#include <limits>
#include <string>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/ignored.hpp>
#include <retort/knowledge/detail/known_gradient.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/detail/row_divergence.hpp>
#include <retort/knowledge/detail/target_split.hpp>

namespace retort {

/// Soft targets in two parts: the probability of the target class, and the distribution among the others.
///
/// Formula: \f$ \alpha T^2\,\mathrm{KL}(b_t \| b_s) + \beta T^2\,\mathrm{KL}(\hat p_t \| \hat p_s) \f$, with \f$ b =
/// (p_y, 1 - p_y) \f$ and \f$ \hat p \f$ the softmax over all classes except y, all at temperature T; mean over
/// samples.
/// Shapes: both logits [batch, classes], at least 2 classes; targets [batch] of class indices, or [batch,
/// classes] of probabilities, of which the most probable class counts.
/// Gradient: to the student's logits.
/// Reductions: `batchmean` (default; `mean` is the same, elements are samples), `sum`, `none`.
/// Hazards: beta has no default. It depends on the pair of networks: use a preset or choose it. The warm-up of the
/// released code, min(epoch / 20, 1), is left to a schedule: `WarmUp`. Released code masks the target class with
/// -1000, which fails for more confident teachers, and takes the logarithm of a sum of probabilities, which is not
/// finite if it underflows; here the class is removed by its index, in log space. MMRazor's reduction `mean` is a
/// sum: `mm_razor()`.
/// Source: Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022. The presets are
/// mdistiller's, with cross-entropy at weight 1.
struct DecoupledKd {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = true;

    double target_weight = 1.0;                                           ///< alpha
    double non_target_weight = std::numeric_limits<double>::quiet_NaN();  ///< beta: required
    double temperature = 4.0;                                             ///< above 0
    Reduction reduction = Reduction::batchmean;
    std::int64_t ignore_index = -100;  ///< samples with this target do not count

    // CIFAR-100
    static DecoupledKd resnet56_resnet20() { return {.non_target_weight = 2.0}; }
    static DecoupledKd resnet110_resnet32() { return {.non_target_weight = 2.0}; }
    static DecoupledKd resnet32x4_resnet8x4() { return {.non_target_weight = 8.0}; }
    static DecoupledKd wrn40_2_wrn16_2() { return {.non_target_weight = 6.0}; }
    static DecoupledKd wrn40_2_wrn40_1() { return {.non_target_weight = 6.0}; }
    static DecoupledKd vgg13_vgg8() { return {.non_target_weight = 6.0}; }
    static DecoupledKd vgg13_mobile_net_v2() { return {.non_target_weight = 6.0}; }
    // ImageNet
    static DecoupledKd resnet34_resnet18() { return {.non_target_weight = 0.5, .temperature = 1.0}; }
    static DecoupledKd resnet50_mobile_net_v1() { return {.non_target_weight = 2.0, .temperature = 1.0}; }
    /// mdistiller's default for pairs without settings of their own.
    static DecoupledKd mdistiller() { return {.non_target_weight = 8.0}; }
    /// MMRazor's ImageNet settings as released: a sum over the batch.
    static DecoupledKd mm_razor() {
        return {.non_target_weight = 0.5, .temperature = 1.0, .reduction = Reduction::sum};
    }
    /// With standardized logits (`Standardized`), as released by the authors of logit standardization: their weight 9
    /// times alpha 1 and beta 8.
    static DecoupledKd standardized() {
        return {.target_weight = 9.0, .non_target_weight = 72.0, .temperature = 2.0};
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const;
    static std::string name() { return "decoupled_kd"; }
};

inline void DecoupledKd::check() const {
    if (std::isnan(non_target_weight)) {
        throw ConfigError(
            "DecoupledKd: expected a choice of non_target_weight (beta), which depends on the pair of "
            "networks; "
            "use a preset such as DecoupledKd::resnet32x4_resnet8x4() or set it");
    }
    detail::check_range("DecoupledKd", "a target_weight", target_weight, detail::at_least(0));
    detail::check_range("DecoupledKd", "a non_target_weight", non_target_weight, detail::at_least(0));
    detail::check_temperature("DecoupledKd", temperature);
}

namespace detail {

inline at::Tensor scores_at(const at::Tensor& logits, double temperature) {
    const at::Tensor scores = at_least_float32(logits);
    return temperature == 1.0 ? scores : scores / temperature;
}

/// The loss in differentiable operators.
inline at::Tensor composed_decoupled_kd(const at::Tensor& student, const at::Tensor& teacher,
                                        const at::Tensor& column, const DecoupledKd& options) {
    const TargetSplit of_teacher = split_target(scores_at(teacher, options.temperature), column);
    const TargetSplit of_student = split_target(scores_at(student, options.temperature), column);
    const at::Tensor binary = of_teacher.log_target.exp() * (of_teacher.log_target - of_student.log_target) +
                              of_teacher.log_rest.exp() * (of_teacher.log_rest - of_student.log_rest);
    // At the target class both logarithms are 0, and so is their difference.
    const at::Tensor others =
        (of_teacher.log_others.exp() * (of_teacher.log_others - of_student.log_others)).sum(1);
    return reduce(scaled(binary, options.target_weight) + scaled(others, options.non_target_weight),
                  options.reduction, PerSample::mean, options.temperature * options.temperature);
}

/// The loss of each sample without the factor T^2, and its gradient with respect to the student's logits divided by T.
inline ValueAndGradient decoupled_rows(const at::Tensor& student, const at::Tensor& teacher,
                                       const at::Tensor& column, const DecoupledKd& options,
                                       bool with_gradient) {
    struct Side {
        at::Tensor binary;  ///< log-probabilities of target and rest, [batch, 2]
        at::Tensor
            others;  ///< log-probabilities of the others among themselves; minus infinity at the target
    };
    const auto split = [&](const at::Tensor& logits) {
        at::Tensor scores = scores_at(logits, options.temperature);
        if (scores.is_same(logits)) scores = scores.clone();
        const at::Tensor target = scores.gather(1, column);
        scores.scatter_(1, column, -std::numeric_limits<double>::infinity());
        const at::Tensor rest = at::logsumexp(scores, 1, /*keepdim=*/true);
        return Side{at::log_softmax(at::cat({target, rest}, 1), 1), scores.sub_(rest)};
    };
    const Side of_teacher = split(teacher);
    const Side of_student = split(student);
    ValueAndGradient binary = row_divergence(of_student.binary, of_teacher.binary, {}, with_gradient);
    const at::Tensor teacher_others = of_teacher.others.exp();
    const at::Tensor others = of_teacher.others.sub_(of_student.others)
                                  .mul_(teacher_others)
                                  .masked_fill_(teacher_others.eq(0), 0)
                                  .sum(1);
    ValueAndGradient result{binary.value.mul_(options.target_weight).add_(others, options.non_target_weight),
                            {}};
    if (with_gradient) {
        const at::Tensor on_target = binary.gradient.narrow(1, 0, 1).mul_(options.target_weight);
        result.gradient = of_student.others.exp_()
                              .mul_(options.non_target_weight - on_target)
                              .sub_(teacher_others, options.non_target_weight)
                              .scatter_(1, column, on_target);
    }
    return result;
}

}  // namespace detail

namespace detail {

/// Of samples whose targets all count.
inline at::Tensor decoupled_kd_of_all(const at::Tensor& student, const at::Tensor& teacher,
                                      const at::Tensor& target, const DecoupledKd& options) {
    const TensorPair both = logit_pair("decoupled_kd", student, teacher);
    check_two_classes("decoupled_kd", both.student);
    const at::Tensor column = class_indices("decoupled_kd", target, both.student).unsqueeze(1);
    const at::Tensor own = at_least_float32(both.student);
    const at::Tensor goal = at_least_float32(constant(both.teacher));
    return with_known_gradient(
        own,
        [&](bool with_gradient) {
            const double temperature = options.temperature;
            return reduced_rows(decoupled_rows(own, goal, column, options, with_gradient), 1,
                                options.reduction, temperature * temperature, temperature);
        },
        [goal, column, options](const at::Tensor& input) {
            return composed_decoupled_kd(input, goal, column, options);
        });
}

}  // namespace detail

namespace functional {

/// See `DecoupledKd`.
/// \throws ConfigError if an option is out of range; ShapeError if logits and targets do not match
inline at::Tensor decoupled_kd(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& target,
                               const DecoupledKd& options) {
    options.check();
    return detail::of_counted(student, target, options, 1.0,
                              [&](const auto& select, const at::Tensor& counted, const DecoupledKd& own) {
                                  return detail::decoupled_kd_of_all(select(student), select(teacher),
                                                                     counted, own);
                              });
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor DecoupledKd::operator()(const Student& student, const Teacher& teacher, const B& batch) const {
    return functional::decoupled_kd(detail::student_logits<DecoupledKd>(student),
                                    detail::teacher_logits<DecoupledKd>(teacher), target(batch), *this);
}

}  // namespace retort
