// SPDX-License-Identifier: BSL-1.0
/// \file
/// Soft targets: the classical distillation loss.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>

#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>

namespace retort {

/// Divergence of the student's softened distribution from the teacher's.
///
/// Formula: \f$ T^2 \, \mathrm{KL}(\sigma(z_t / T) \,\|\, \sigma(z_s / T)) \f$; sum over classes, mean over
/// samples. The factor \f$ T^2 \f$ keeps the size of the gradients apart from the temperature; `t_squared =
/// false` leaves it out. Shapes: both logits [batch, classes]. Gradient: to the student's logits; the
/// teacher's are constants. Reductions: `batchmean` (default), `sum`, `mean` (over samples and classes: 1 /
/// classes of batchmean, as in some released code), `none` (one value per sample). Source: Hinton, Vinyals,
/// Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
struct SoftTarget {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    double temperature = 4.0;  ///< above 0
    Reduction reduction = Reduction::batchmean;
    bool t_squared = true;

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const;
    static std::string name() { return "soft_target"; }
};

namespace functional {

/// See `SoftTarget`.
/// \throws ConfigError if the temperature is not above 0; ShapeError if the logits do not fit together.
inline at::Tensor soft_target(const at::Tensor& student, const at::Tensor& teacher,
                              const SoftTarget& options = {}) {
    options.check();
    detail::check_logits("soft_target", "the student's logits", student);
    detail::check_logits("soft_target", "the teacher's logits", teacher);
    detail::check_alike("soft_target", "the student's logits", student, "the teacher's logits", teacher);
    const double temperature = options.temperature;
    const auto log_probabilities = [temperature](const at::Tensor& logits) {
        const at::Tensor scores = detail::at_least_float32(logits);
        return at::log_softmax(temperature == 1.0 ? scores : scores / temperature, 1);
    };
    const at::Tensor log_teacher = log_probabilities(detail::constant(teacher));
    const at::Tensor divergence = log_teacher.exp() * (log_teacher - log_probabilities(student));
    double factor = options.t_squared ? temperature * temperature : 1.0;
    at::Tensor result;
    switch (options.reduction) {
        case Reduction::none:
            result = divergence.sum(1);
            break;
        case Reduction::sum:
            result = divergence.sum();
            break;
        case Reduction::batchmean:
            result = divergence.sum();
            factor /= static_cast<double>(student.size(0));
            break;
        case Reduction::mean:
            result = divergence.mean();
            break;
    }
    return factor == 1.0 ? result : result * factor;
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor SoftTarget::operator()(const Student& student, const Teacher& teacher, const B&) const {
    static_assert(HasLogits<Student>,
                  "retort: SoftTarget needs logits: the student's outputs have no member `logits`, and there "
                  "is no function "
                  "logits(outputs) beside their type");
    static_assert(HasLogits<Teacher>,
                  "retort: SoftTarget needs logits: the teacher's outputs have no member `logits`, and there "
                  "is no function "
                  "logits(outputs) beside their type");
    return functional::soft_target(logits(student), logits(teacher), *this);
}

inline void SoftTarget::check() const {
    if (!(temperature > 0 && std::isfinite(temperature))) {
        throw ConfigError(detail::text("SoftTarget: expected a temperature above 0, found ", temperature));
    }
}

}  // namespace retort
