// SPDX-License-Identifier: BSL-1.0
/// \file
/// Decoupled knowledge distillation: the target class and the others, weighted apart.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <limits>
#include <string>

#include <retort/core/reduction.hpp>
#include <retort/detail/logit_loss.hpp>
#include <retort/detail/target_split.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>

namespace retort {

/// Soft targets taken apart: how probable the target class is, and how the others are among themselves.
///
/// Formula: \f$ \alpha T^2\,\mathrm{KL}(b_t \| b_s) + \beta T^2\,\mathrm{KL}(\hat p_t \| \hat p_s) \f$, with
/// \f$ b = (p_y, 1 - p_y) \f$ and \f$ \hat p \f$ the softmax over all classes but y, all at temperature T;
/// mean over samples.
/// Shapes: both logits [batch, classes], at least 2 classes; targets [batch] of class indices, or [batch,
/// classes] of probabilities, of which the most probable class counts.
/// Gradient: to the student's logits.
/// Reductions: `batchmean` (default; `mean` is the same, elements are samples), `sum`, `none`.
/// Hazards: beta has no default. It depends on the pair of networks: take a preset or choose. The warm-up of
/// the released code, min(epoch / 20, 1), is a schedule's matter: `WarmUp`. Released code masks the target
/// class with -1000, which fails for teachers surer than that, and takes the logarithm of a sum of
/// probabilities, which is not finite where it underflows; here the class is taken out by its index, in log
/// space. MMRazor's reduction `mean` is a sum: `mm_razor()`.
/// Source: Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022. The presets are
/// mdistiller's, beside cross-entropy of weight 1.
struct DecoupledKd {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = true;

    double target_weight = 1.0;                                           ///< alpha
    double non_target_weight = std::numeric_limits<double>::quiet_NaN();  ///< beta: required
    double temperature = 4.0;                                             ///< above 0
    Reduction reduction = Reduction::batchmean;

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
    /// mdistiller's default where a pair has none of its own.
    static DecoupledKd mdistiller() { return {.non_target_weight = 8.0}; }
    /// MMRazor's ImageNet settings as released: a sum over the batch.
    static DecoupledKd mm_razor() {
        return {.non_target_weight = 0.5, .temperature = 1.0, .reduction = Reduction::sum};
    }
    /// With standardised logits (`Standardised`), as the authors of logit standardisation release it: their
    /// weight 9 times alpha 1 and beta 8.
    static DecoupledKd standardised() {
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
            "take a preset such as DecoupledKd::resnet32x4_resnet8x4() or set it");
    }
    detail::check_weight("DecoupledKd", "a target_weight", target_weight);
    detail::check_weight("DecoupledKd", "a non_target_weight", non_target_weight);
    detail::check_temperature("DecoupledKd", temperature);
}

namespace functional {

/// See `DecoupledKd`.
///
/// \throws ConfigError if an option is out of its range; ShapeError if logits and targets do not fit
/// together.
inline at::Tensor decoupled_kd(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& target,
                               const DecoupledKd& options) {
    options.check();
    detail::check_logit_pair("decoupled_kd", student, teacher);
    detail::check_two_classes("decoupled_kd", student);
    const at::Tensor column = detail::class_indices("decoupled_kd", target, student).unsqueeze(1);
    const auto split = [&](const at::Tensor& logits) {
        const at::Tensor scores = detail::at_least_float32(logits);
        return detail::split_target(options.temperature == 1.0 ? scores : scores / options.temperature,
                                    column);
    };
    const detail::TargetSplit of_teacher = split(detail::constant(teacher));
    const detail::TargetSplit of_student = split(student);
    const at::Tensor binary = of_teacher.log_target.exp() * (of_teacher.log_target - of_student.log_target) +
                              of_teacher.log_rest.exp() * (of_teacher.log_rest - of_student.log_rest);
    // At the target class both logarithms are 0, and so is their difference.
    const at::Tensor others =
        (of_teacher.log_others.exp() * (of_teacher.log_others - of_student.log_others)).sum(1);
    return detail::reduce_over_samples(
        detail::scaled(binary, options.target_weight) + detail::scaled(others, options.non_target_weight),
        options.reduction, options.temperature * options.temperature);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor DecoupledKd::operator()(const Student& student, const Teacher& teacher, const B& batch) const {
    return functional::decoupled_kd(detail::logits_for<DecoupledKd>(student),
                                    detail::logits_for<DecoupledKd>(teacher), target(batch), *this);
}

}  // namespace retort
