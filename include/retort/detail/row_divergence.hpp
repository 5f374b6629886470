// SPDX-License-Identifier: BSL-1.0
/// \file
/// Divergences of the rows of log-probabilities, with their gradients, without autograd.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/logaddexp.h>

#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include <retort/core/error.hpp>

namespace retort::detail {

/// How far a student's distribution s is from a teacher's t. The names are those of `SoftTarget::Form`.
enum class RowForm {
    forward,                  ///< KL(t || s): the student covers all that the teacher gives probability to
    reverse,                  ///< KL(s || t): the student keeps to what the teacher gives probability to
    symmetric,                ///< beta KL(t || s) + (1 - beta) KL(s || t)
    jensen_shannon,           ///< beta KL(t || m) + (1 - beta) KL(s || m), m = beta t + (1 - beta) s
    cross_entropy,            ///< -sum t log s: the gradient of `forward`, but not 0 at equality
    symmetric_cross_entropy,  ///< beta times the cross-entropy + (1 - beta) KL(s || t)
};

/// A divergence per row, and how impossible elements are met.
struct RowDivergence {
    RowForm form = RowForm::forward;
    double beta = 0.5;
    /// true: KL(t || s) and the cross-entropy leave out the elements to which s gives no probability.
    bool skip_impossible = false;

    bool without_teacher_entropy() const {
        return form == RowForm::cross_entropy || form == RowForm::symmetric_cross_entropy;
    }
};

/// A divergence of each row, [rows], and where asked for its gradient by the student's logits, [rows,
/// elements].
struct RowDivergenceResult {
    at::Tensor value;
    at::Tensor gradient;
};

// An element without probability adds nothing, whatever the other logarithm is: 0 times infinity would be
// NaN. Only such elements are filled, so that a NaN in the logits stays visible.

inline RowDivergenceResult forward_rows(at::Tensor log_student, at::Tensor log_teacher,
                                        const RowDivergence& how, bool with_gradient) {
    at::Tensor teacher = log_teacher.exp();
    at::Tensor nothing = teacher.eq(0);
    if (how.skip_impossible) {
        const at::Tensor impossible = log_student.eq(-std::numeric_limits<double>::infinity());
        nothing.logical_or_(impossible);
        teacher.masked_fill_(impossible, 0);
    }
    at::Tensor terms;
    if (how.without_teacher_entropy()) {
        terms = at::mul_out(log_teacher, log_student, teacher).neg_();
    } else {
        terms = log_teacher.sub_(log_student).mul_(teacher);
    }
    RowDivergenceResult result{terms.masked_fill_(nothing, 0).sum(1), {}};
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
    const at::Tensor nothing = student.eq(0);
    at::Tensor ratio = log_student.sub_(log_other);
    RowDivergenceResult result{(ratio * student).masked_fill_(nothing, 0).sum(1), {}};
    if (with_gradient) {
        result.gradient = ratio.sub_(result.value.unsqueeze(1)).mul_(student).masked_fill_(nothing, 0);
    }
    return result;
}

inline RowDivergenceResult jensen_shannon_rows(at::Tensor log_student, at::Tensor log_teacher, double beta,
                                               bool with_gradient) {
    const at::Tensor log_mixture =
        at::logaddexp(log_student + std::log1p(-beta), log_teacher + std::log(beta));
    RowDivergenceResult of_student = student_rows(std::move(log_student), log_mixture, with_gradient);
    const at::Tensor teacher = log_teacher.exp();
    const at::Tensor of_teacher =
        log_teacher.sub_(log_mixture).mul_(teacher).masked_fill_(teacher.eq(0), 0).sum(1);
    of_student.value.mul_(1 - beta).add_(of_teacher, beta);
    if (with_gradient) of_student.gradient.mul_(1 - beta);
    return of_student;
}

/// The divergence of each row. Both tensors, [rows, elements] of log-probabilities, are used up: their
/// memory is worked in. Without autograd.
inline RowDivergenceResult row_divergence(at::Tensor log_student, at::Tensor log_teacher,
                                          const RowDivergence& how, bool with_gradient) {
    RowDivergenceResult result;
    switch (how.form) {
        case RowForm::forward:
        case RowForm::cross_entropy:
            result = forward_rows(std::move(log_student), std::move(log_teacher), how, with_gradient);
            break;
        case RowForm::reverse:
            result = student_rows(std::move(log_student), log_teacher, with_gradient);
            break;
        case RowForm::symmetric:
        case RowForm::symmetric_cross_entropy: {
            const RowDivergenceResult reverse = student_rows(log_student.clone(), log_teacher, with_gradient);
            result = forward_rows(std::move(log_student), std::move(log_teacher), how, with_gradient);
            result.value.mul_(how.beta).add_(reverse.value, 1 - how.beta);
            if (with_gradient) result.gradient.mul_(how.beta).add_(reverse.gradient, 1 - how.beta);
            break;
        }
        case RowForm::jensen_shannon:
            result =
                jensen_shannon_rows(std::move(log_student), std::move(log_teacher), how.beta, with_gradient);
            break;
    }
    // No divergence is negative; rounding alone makes it so.
    if (!how.without_teacher_entropy() && !how.skip_impossible) result.value.clamp_min_(0);
    return result;
}

///
/// \throws ConfigError if the beta makes no sense for the form
inline void check_beta(std::string_view where, RowForm form, double beta) {
    if (form == RowForm::jensen_shannon && !(beta > 0 && beta < 1)) {
        throw ConfigError(text(where,
                               ": expected a beta between 0 and 1 for the Jensen-Shannon form (which is 0 at "
                               "both ends; Form::forward and Form::reverse are the Kullback-Leibler "
                               "divergences), found ",
                               beta));
    }
    const bool mixed = form == RowForm::symmetric || form == RowForm::symmetric_cross_entropy;
    if (mixed && !(beta >= 0 && beta <= 1)) {
        throw ConfigError(text(where, ": expected a beta in [0, 1], found ", beta));
    }
}

}  // namespace retort::detail
