// SPDX-License-Identifier: BSL-1.0
/// \file
/// Regression of logits: the mean squared difference.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>

#include <string>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Mean squared difference of the logits.
///
/// Formula: \f$ \mathrm{mean} ((z_s - z_t) / T)^2 \f$, over samples and classes.
/// Shapes: both logits [batch, classes].
/// Gradient: to the student's logits.
/// Reductions: `mean` over all elements (default), `batchmean` (sum over the classes, mean over the samples),
/// `sum`, `none` (the sum of each sample).
/// Hazards: not invariant to a constant added to all logits of a sample, unlike everything based on a softmax.
/// Source: Ba, Caruana, "Do Deep Nets Really Need to be Deep?", NIPS 2014 (there half of the sum). With a
/// temperature in TextBrewer; KD_Lib's mutual learning is this between the students, without one.
struct LogitMse {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    Reduction reduction = Reduction::mean;
    double temperature = 1.0;  ///< above 0

    static LogitMse text_brewer(double temperature = 4.0) { return {.temperature = temperature}; }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const { detail::check_temperature("LogitMse", temperature); }
    static std::string name() { return "logit_mse"; }
};

namespace functional {

/// See `LogitMse`.
/// \throws ConfigError if the temperature is not above 0; ShapeError if the logits do not match
inline at::Tensor logit_mse(const at::Tensor& student, const at::Tensor& teacher,
                            const LogitMse& options = {}) {
    options.check();
    const detail::TensorPair both = detail::logit_pair("logit_mse", student, teacher);
    const at::Tensor own = detail::at_least_float32(both.student);
    const at::Tensor goal = detail::at_least_float32(detail::constant(both.teacher));
    const double factor = 1 / (options.temperature * options.temperature);
    switch (options.reduction) {
        case Reduction::mean:
            return detail::scaled(at::mse_loss(own, goal), factor);
        case Reduction::sum:
            return detail::scaled(at::mse_loss(own, goal, at::Reduction::Sum), factor);
        case Reduction::batchmean:
        case Reduction::none:
            break;
    }
    return detail::reduce(at::mse_loss(own, goal, at::Reduction::None), options.reduction,
                          detail::PerSample::sum, factor);
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor LogitMse::operator()(const Student& student, const Teacher& teacher, const B&) const {
    return functional::logit_mse(detail::student_logits<LogitMse>(student),
                                 detail::teacher_logits<LogitMse>(teacher), *this);
}

}  // namespace retort
