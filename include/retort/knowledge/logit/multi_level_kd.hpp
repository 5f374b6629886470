// SPDX-License-Identifier: BSL-1.0
/// \file
/// Multi-level logit distillation: instances, classes and batch, of two views, at several temperatures.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/adaptor/standardized.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/logit/class_relation.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

namespace retort {

/// Soft targets, class relations and sample relations of a weakly and a strongly augmented view, summed over
/// five temperatures.
///
/// Formula (`as_described`, the default): with \f$ D^2 \f$ the squared differences of Gram matrices, and the
/// sum over the temperatures T,
/// \f[ \sum_T \Big[ w_i \tfrac{T^2}{B} \sum_i (m_i \mathrm{KL}^w_i + \mathrm{KL}^s_i)
///   + \tfrac{w_c}{C} \sum_{jk} (c_j (D^w_{jk})^2 + (D^s_{jk})^2)
///   + \tfrac{w_b}{B} \sum_{ik} (m_i (E^w_{ik})^2 + (E^s_{ik})^2) \Big] \f]
/// where w is the weak view and s the strong one, \f$ m_i \f$ is 1 for samples on which the teacher's confidence (on
/// the weak view) is at most the median, else 0, and \f$ c_j \f$ is 1 for classes to which it assigns at most the
/// median of the probability mass. D are the relations of classes (`ClassRelation`), E those of samples
/// (`SampleRelation`). Formula (`as_released`): the masks multiply sums over the batch, so that they act only as
/// factors mean(m) and mean(c) on the weak parts; the strong parts of classes and samples are computed there and
/// never added; and the divergences of the strong view at the last two temperatures are those of the weak view.
///
/// Shapes: logits of both views, [batch, classes] each. As a term: the outputs hold both, [2 batch, classes], the
/// weak view first, from a batch assembled that way. Cross-entropy on both views is a separate term.
/// Gradient: to the student's logits.
/// Reduction: fixed, as the relations are those of the whole batch.
/// Source: Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023; weight 0.9, with a sum of two cross-entropies
/// at weight 0.1. With `standardize`, as released by the authors of logit standardization: first temperature 2,
/// weight 9, and standardized logits for the divergences only.
struct MultiLevelKd {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    enum class Variant { as_described, as_released };

    Variant variant = Variant::as_described;
    std::array<double, 5> temperatures{4.0, 3.0, 5.0, 2.0, 6.0};  ///< above 0
    double instance_weight = 1.0;
    double class_weight = 1.0;
    double batch_weight = 1.0;
    bool standardize = false;  ///< the logits of the divergences

    static MultiLevelKd as_described() { return {}; }
    static MultiLevelKd as_released() { return {.variant = Variant::as_released}; }
    static MultiLevelKd standardized_as_released() {
        return {
            .variant = Variant::as_released, .temperatures = {2.0, 3.0, 5.0, 2.0, 6.0}, .standardize = true};
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const {
        for (const double temperature : temperatures) detail::check_temperature("MultiLevelKd", temperature);
        detail::check_range("MultiLevelKd", "an instance_weight", instance_weight, detail::at_least(0));
        detail::check_range("MultiLevelKd", "a class_weight", class_weight, detail::at_least(0));
        detail::check_range("MultiLevelKd", "a batch_weight", batch_weight, detail::at_least(0));
    }
    static std::string name() { return "multi_level_kd"; }
};

namespace detail {

/// Which values are at most the median (for an even number, the mean of the middle two): 1 or 0, in the type of the
/// values. By sorting: never waits for the device.
inline at::Tensor at_most_median(const at::Tensor& values) {
    const at::Tensor sorted = std::get<0>(values.sort());
    const std::int64_t count = values.size(0);
    const at::Tensor median = (sorted.select(0, (count - 1) / 2) + sorted.select(0, count / 2)) / 2;
    return values.le(median).to(values.scalar_type());
}

}  // namespace detail

namespace functional {

/// See `MultiLevelKd`.
/// \throws ConfigError if an option is out of range; ShapeError if the logits do not match
inline at::Tensor multi_level_kd(const at::Tensor& student_weak, const at::Tensor& student_strong,
                                 const at::Tensor& teacher_weak, const at::Tensor& teacher_strong,
                                 const MultiLevelKd& options = {}) {
    options.check();
    const detail::TensorPair weak_view =
        detail::logit_pair("multi_level_kd (weak view)", student_weak, teacher_weak);
    const detail::TensorPair strong_view =
        detail::logit_pair("multi_level_kd (strong view)", student_strong, teacher_strong);
    detail::check_alike("multi_level_kd", "the student's logits of the weak view", student_weak,
                        "those of the strong view", student_strong);
    const at::Tensor fixed_weak = detail::constant(weak_view.teacher);
    const at::Tensor fixed_strong = detail::constant(strong_view.teacher);
    const double batch = static_cast<double>(student_weak.size(0));
    const double classes = static_cast<double>(student_weak.size(1));
    const bool released = options.variant == MultiLevelKd::Variant::as_released;

    const at::Tensor sure = detail::probabilities(fixed_weak, 1.0);
    at::Tensor samples = detail::at_most_median(std::get<0>(sure.max(1)));
    at::Tensor of_classes = detail::at_most_median(sure.sum(0));
    if (released) {  // one factor for all
        samples = samples.mean();
        of_classes = of_classes.mean();
    }

    const auto for_divergence = [&](const at::Tensor& logits) {
        return options.standardize ? standardize(logits) : logits;
    };
    const at::Tensor student_scores[2] = {for_divergence(weak_view.student),
                                          for_divergence(strong_view.student)};
    const at::Tensor teacher_scores[2] = {for_divergence(fixed_weak), for_divergence(fixed_strong)};
    const auto divergence = [&](int view, double temperature) {  // per sample, with T^2
        return soft_target(student_scores[view], teacher_scores[view],
                           {.temperature = temperature, .reduction = Reduction::none});
    };

    at::Tensor instances, of_class, of_batch;
    const auto add = [](at::Tensor& sum, const at::Tensor& value) {
        sum = sum.defined() ? sum + value : value;
    };
    for (std::size_t i = 0; i < options.temperatures.size(); ++i) {
        const double temperature = options.temperatures[i];
        const at::Tensor weak = divergence(0, temperature);
        const bool swapped = released && i >= 3;
        add(instances, (samples * weak + (swapped ? weak : divergence(1, temperature))).sum());
        const at::Tensor class_weak =
            detail::class_relation_elements(weak_view.student, fixed_weak, temperature).sum(1);
        const at::Tensor sample_weak =
            detail::sample_relation_elements(weak_view.student, fixed_weak, temperature).sum(1);
        add(of_class, (of_classes * class_weak).sum());
        add(of_batch, (samples * sample_weak).sum());
        if (!released) {
            add(of_class,
                detail::class_relation_elements(strong_view.student, fixed_strong, temperature).sum());
            add(of_batch,
                detail::sample_relation_elements(strong_view.student, fixed_strong, temperature).sum());
        }
    }
    return instances * (options.instance_weight / batch) + of_class * (options.class_weight / classes) +
           of_batch * (options.batch_weight / batch);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor MultiLevelKd::operator()(const Student& student, const Teacher& teacher, const B&) const {
    const at::Tensor of_student = detail::student_logits<MultiLevelKd>(student);
    const at::Tensor of_teacher = detail::teacher_logits<MultiLevelKd>(teacher);
    detail::logit_pair("multi_level_kd", of_student, of_teacher);
    if (of_student.size(0) % 2 != 0) {
        throw ShapeError(detail::concat(
            "multi_level_kd: expected logits of two views, the weak one first, of shape [2 batch, classes]; "
            "found ",
            detail::shape_text(of_student)));
    }
    const std::int64_t half = of_student.size(0) / 2;
    return functional::multi_level_kd(of_student.slice(0, 0, half), of_student.slice(0, half),
                                      of_teacher.slice(0, 0, half), of_teacher.slice(0, half), *this);
}

}  // namespace retort
