// SPDX-License-Identifier: BSL-1.0
/// \file
/// Divergences of the rows of log-probabilities, with their gradients, without autograd.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/logaddexp.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/core/reduction.hpp>
#include <retort/knowledge/detail/known_gradient.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort::detail {

/// Divergences of a student's distribution s from a teacher's t. The names are those of `SoftTarget::Form`.
enum class RowForm {
    forward,                  ///< KL(t || s): mode-covering
    reverse,                  ///< KL(s || t): mode-seeking
    symmetric,                ///< beta KL(t || s) + (1 - beta) KL(s || t)
    jensen_shannon,           ///< beta KL(t || m) + (1 - beta) KL(s || m), m = beta t + (1 - beta) s
    cross_entropy,            ///< -sum t log s: the gradient of `forward`, but not 0 at equality
    symmetric_cross_entropy,  ///< beta times the cross-entropy + (1 - beta) KL(s || t)
};

/// A divergence per row, and the treatment of impossible elements.
struct RowDivergence {
    RowForm form = RowForm::forward;
    double beta = 0.5;
    /// true: KL(t || s) and the cross-entropy omit the elements to which s assigns no probability.
    bool skip_impossible = false;

    bool without_teacher_entropy() const {
        return form == RowForm::cross_entropy || form == RowForm::symmetric_cross_entropy;
    }
};

/// A divergence per row, [rows], and if requested its gradient with respect to the student's logits, [rows,
/// elements].
using RowDivergenceResult = ValueAndGradient;

// An element of probability 0 contributes nothing, whatever the other logarithm is: 0 times infinity would be NaN. So
// all logarithms here are finite: the lowest number stands for log 0. Values that become huge from it are truly
// infinite, and are made so at the end. (Masks would do the same, at several times the cost.) A NaN in the logits
// stays visible.

inline RowDivergenceResult forward_rows(at::Tensor log_student, at::Tensor log_teacher,
                                        const RowDivergence& how, const at::Tensor& impossible,
                                        bool with_gradient) {
    at::Tensor teacher = log_teacher.exp();
    if (how.skip_impossible) teacher.masked_fill_(impossible, 0);
    if (how.without_teacher_entropy()) {
        at::mul_out(log_teacher, log_student, teacher).neg_();
    } else {
        log_teacher.sub_(log_student).mul_(teacher);
    }
    RowDivergenceResult result{log_teacher.sum(1), {}};
    if (with_gradient) {
        result.gradient = log_student.exp_();
        if (how.skip_impossible) result.gradient.mul_(teacher.sum(1, /*keepdim=*/true));
        result.gradient.sub_(teacher);
    }
    return result;
}

/// ps (u - sum ps u), where u = log s - `log_other`.
inline RowDivergenceResult student_rows(at::Tensor log_student, const at::Tensor& log_other,
                                        bool with_gradient) {
    const at::Tensor student = log_student.exp();
    at::Tensor ratio = log_student.sub_(log_other);
    RowDivergenceResult result{(ratio * student).sum(1), {}};
    if (with_gradient) result.gradient = ratio.sub_(result.value.unsqueeze(1)).mul_(student);
    return result;
}

/// beta t u - (1 - beta) s u, where u = log t - log s.
inline RowDivergenceResult symmetric_rows(at::Tensor log_student, at::Tensor log_teacher, double beta,
                                          bool with_gradient) {
    const at::Tensor teacher = log_teacher.exp();
    const at::Tensor student = log_student.exp();
    at::Tensor ratio = log_student.sub_(log_teacher);
    const at::Tensor reverse = at::mul_out(log_teacher, ratio, student).sum(1);
    const at::Tensor forward = at::mul_out(log_teacher, ratio, teacher).sum(1);
    RowDivergenceResult result{at::mul(reverse, 1 - beta).sub_(forward, beta), {}};
    if (with_gradient) {
        const at::Tensor shift = at::mul(reverse, beta - 1).add_(beta).unsqueeze(1);
        result.gradient = at::add_out(ratio, shift, ratio, 1 - beta).mul_(student).sub_(teacher, beta);
    }
    return result;
}

inline RowDivergenceResult jensen_shannon_rows(at::Tensor log_student, at::Tensor log_teacher, double beta,
                                               bool with_gradient) {
    const at::Tensor log_mixture =
        at::logaddexp(log_student + std::log1p(-beta), log_teacher + std::log(beta));
    RowDivergenceResult of_student = student_rows(std::move(log_student), log_mixture, with_gradient);
    const at::Tensor teacher = log_teacher.exp();
    const at::Tensor of_teacher = log_teacher.sub_(log_mixture).mul_(teacher).sum(1);
    of_student.value.mul_(1 - beta).add_(of_teacher, beta);
    if (with_gradient) of_student.gradient.mul_(1 - beta);
    return of_student;
}

/// The divergence of each row. Both tensors, [rows, elements] of log-probabilities, are consumed: their memory is
/// reused. Without autograd.
inline RowDivergenceResult row_divergence(at::Tensor log_student, at::Tensor log_teacher,
                                          const RowDivergence& how, bool with_gradient) {
    const double infinity = std::numeric_limits<double>::infinity();
    const double lowest = log_student.scalar_type() == at::kDouble
                              ? std::numeric_limits<double>::lowest()
                              : static_cast<double>(std::numeric_limits<float>::lowest());
    const at::Tensor impossible = how.skip_impossible ? log_student.eq(-infinity) : at::Tensor();
    log_student.clamp_min_(lowest);
    log_teacher.clamp_min_(lowest);
    RowDivergenceResult result;
    switch (how.form) {
        case RowForm::forward:
        case RowForm::cross_entropy:
            result =
                forward_rows(std::move(log_student), std::move(log_teacher), how, impossible, with_gradient);
            break;
        case RowForm::reverse:
            result = student_rows(std::move(log_student), log_teacher, with_gradient);
            break;
        case RowForm::symmetric:
            if (how.beta > 0 && how.beta < 1 && !how.skip_impossible) {
                result =
                    symmetric_rows(std::move(log_student), std::move(log_teacher), how.beta, with_gradient);
                break;
            }
            [[fallthrough]];
        case RowForm::symmetric_cross_entropy: {
            const RowDivergenceResult reverse = student_rows(log_student.clone(), log_teacher, with_gradient);
            result =
                forward_rows(std::move(log_student), std::move(log_teacher), how, impossible, with_gradient);
            result.value.mul_(how.beta).add_(reverse.value, 1 - how.beta);
            if (with_gradient) result.gradient.mul_(how.beta).add_(reverse.gradient, 1 - how.beta);
            break;
        }
        case RowForm::jensen_shannon:
            result =
                jensen_shannon_rows(std::move(log_student), std::move(log_teacher), how.beta, with_gradient);
            break;
    }
    if (how.form != RowForm::jensen_shannon) {
        result.value.masked_fill_(result.value > lowest * -1e-12, infinity);
    }
    // No divergence is negative, except by rounding.
    if (!how.without_teacher_entropy() && !how.skip_impossible) result.value.clamp_min_(0);
    return result;
}

/// Values of rows of `elements` each, reduced as by `reduce`, and their gradients.
/// \param value_factor, slope factors of values and gradients
inline ValueAndGradient reduced_rows(ValueAndGradient rows, std::int64_t elements, Reduction reduction,
                                     double value_factor, double slope) {
    const double items = divisor(reduction, rows.value.size(0), elements);
    if (reduction != Reduction::none) rows.value = rows.value.sum();
    if (value_factor != items) rows.value.mul_(value_factor / items);
    slope /= items;
    rows.scale *= slope;
    return rows;
}

/// \throws ConfigError if the beta is invalid for the form
inline void check_beta(std::string_view where, RowForm form, double beta) {
    if (form == RowForm::jensen_shannon && !(beta > 0 && beta < 1)) {
        throw ConfigError(
            concat(where,
                   ": expected a beta between 0 and 1 for the Jensen-Shannon form (which is 0 at "
                   "both ends; Form::forward and Form::reverse are the Kullback-Leibler "
                   "divergences), found ",
                   beta));
    }
    const bool mixed = form == RowForm::symmetric || form == RowForm::symmetric_cross_entropy;
    if (mixed) check_range(where, "a beta", beta, in_closed(0, 1));
}

}  // namespace retort::detail
