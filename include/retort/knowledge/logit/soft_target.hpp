// SPDX-License-Identifier: BSL-1.0
/// \file
/// Soft targets: the classic distillation loss.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/logaddexp.h>

#include <cmath>
#include <optional>

#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/known_gradient.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/detail/row_divergence.hpp>

namespace retort {

/// Divergence of the student's softened distribution from the teacher's.
///
/// Formula: \f$ T^2 \, \mathrm{KL}(t \,\|\, s) \f$ with \f$ t = \sigma(z_t / T) \f$, \f$ s = \sigma(z_s / T) \f$; sum
/// over classes, mean over samples. The factor \f$ T^2 \f$ makes the scale of the gradients independent of the
/// temperature; `t_squared = false` omits it. `form` selects another divergence.
/// Shapes: both logits [batch, classes].
/// Gradient: to the student's logits; the teacher's are constants.
/// Reductions: `batchmean` (default), `sum`, `mean` (over samples and classes: 1 / classes of batchmean, as in some
/// released code), `none` (one value per sample).
/// Masked classes: a class with a logit of minus infinity on both sides is treated as absent (also by `squared` and
/// `guarded`). A class that is impossible only for the student makes `forward` infinite, as in theory, and vice versa
/// for `reverse`; `jensen_shannon` is always finite.
/// Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
struct SoftTarget {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    /// The divergence, per sample a sum over classes.
    enum class Form {
        forward,         ///< \f$ \sum t (\log t - \log s) \f$
        reverse,         ///< \f$ \sum s (\log s - \log t) \f$
        symmetric,       ///< \f$ \beta \f$ forward \f$ + (1 - \beta) \f$ reverse; half of Jeffreys' at 0.5
        jensen_shannon,  ///< \f$ \beta\,\mathrm{KL}(t\|m) + (1-\beta)\,\mathrm{KL}(s\|m) \f$, \f$ m = \beta t
                         ///< + (1-\beta) s \f$, 0 < beta < 1: generalized JSD of Agarwal et al., "On-Policy
        ///< Distillation of Language Models", 2023. Tends to 0 for beta to 0 and 1 (unlike code that
        ///< puts forward and reverse there)
        cross_entropy,  ///< \f$ -\sum t \log s \f$: the gradient of `forward`, but not 0 at equality
        squared,        ///< \f$ \sum (s - t)^2 \f$, of probabilities
        guarded,  ///< \f$ \sum t \log(t / (s + \epsilon) + \epsilon) \f$: released code only. Below 0 at
                  ///< equality, and its gradient vanishes if s underflows
        shifted,  ///< \f$ \sum (t + \epsilon) (\log(t + \epsilon) - \log s) \f$: released code only. Above 0
                  ///< at equality by about \f$ \epsilon \f$ times the classes
    };

    double temperature = 4.0;  ///< above 0
    Reduction reduction = Reduction::batchmean;
    bool t_squared = true;
    Form form = Form::forward;
    double beta = 0.5;      ///< of `symmetric` and `jensen_shannon`
    double epsilon = 1e-8;  ///< of `guarded` and `shifted`
    /// Whether the teacher's logits are constants. False lets gradients reach them if they have a graph, as in some
    /// released code of online distillation: teachers of trainers and peers of cohorts have none, exits of one
    /// network (`Within`) do.
    bool detach = true;

    /// The settings of released code, on CIFAR-100 unless the name says otherwise.
    /// RepDistiller and mdistiller; with cross-entropy, weights 0.9 and 0.1.
    static SoftTarget rep_distiller() { return {.temperature = 4.0}; }
    /// mdistiller on ImageNet; weights 0.5 and 0.5. Also MMRazor and torchdistill (weights 3 and 1 in
    /// MMRazor).
    static SoftTarget image_net() { return {.temperature = 1.0}; }
    /// torchdistill without targets or with weight 0 for them: no \f$ T^2 \f$.
    static SoftTarget torch_distill_bare(double temperature = 4.0) {
        return {.temperature = temperature, .t_squared = false};
    }
    /// Teacher-free Knowledge Distillation, with a trained copy of the student as the teacher, and TAKD: 1 / classes
    /// of the usual loss.
    static SoftTarget teacher_free(double temperature = 20.0) {
        return {.temperature = temperature, .reduction = Reduction::mean};
    }
    /// cls_KD; weights 0.5 and 0.5.
    static SoftTarget cls_kd() { return {.temperature = 4.0, .form = Form::cross_entropy}; }
    /// TextBrewer: cross-entropy, no \f$ T^2 \f$.
    static SoftTarget text_brewer(double temperature = 4.0) {
        return {.temperature = temperature, .t_squared = false, .form = Form::cross_entropy};
    }
    /// Be Your Own Teacher: deeper heads teach shallower ones.
    static SoftTarget be_your_own_teacher() { return {.temperature = 3.0, .form = Form::cross_entropy}; }
    /// KD_Lib: mean squared difference of the probabilities.
    static SoftTarget kd_lib() {
        return {.temperature = 20.0, .reduction = Reduction::mean, .form = Form::squared};
    }
    /// The authors' Deep Mutual Learning.
    static SoftTarget deep_mutual_learning() {
        return {.temperature = 1.0, .form = Form::guarded, .epsilon = 1e-8};
    }
    /// The authors' Knowledge Transfer Graph.
    static SoftTarget transfer_graph() {
        return {.temperature = 1.0, .form = Form::guarded, .epsilon = 1e-10};
    }

    /// ONE, "Knowledge Distillation by On-the-Fly Native Ensemble": the ensemble teaches each branch.
    static SoftTarget native_ensemble() {
        return {.temperature = 3.0, .form = Form::shifted, .epsilon = 1e-7};
    }
    /// OKDDip, "Online Knowledge Distillation with Diverse Peers": the targets are trained, too.
    static SoftTarget diverse_peers() {
        return {.temperature = 3.0, .form = Form::shifted, .epsilon = 1e-7, .detach = false};
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const;
    void check() const;
    static std::string name() { return "soft_target"; }
};

namespace detail {

/// The loss in differentiable operators.
inline at::Tensor composed_soft_target(const at::Tensor& student, const at::Tensor& teacher,
                                       const SoftTarget& options) {
    using Form = SoftTarget::Form;
    const at::Tensor log_teacher = log_probabilities(teacher, options.temperature);
    const at::Tensor log_student = log_probabilities(student, options.temperature);
    const double beta = options.beta;
    // An element of probability 0 contributes nothing, whatever the other logarithm.
    const auto weighted = [](const at::Tensor& log_weight, const at::Tensor& value) {
        const at::Tensor weight = log_weight.exp();
        return weight * value.masked_fill(weight == 0, 0);
    };
    at::Tensor divergence;
    switch (options.form) {
        case Form::forward:
            divergence = weighted(log_teacher, log_teacher - log_student);
            break;
        case Form::reverse:
            divergence = weighted(log_student, log_student - log_teacher);
            break;
        case Form::symmetric:
            divergence = beta * weighted(log_teacher, log_teacher - log_student) +
                         (1 - beta) * weighted(log_student, log_student - log_teacher);
            break;
        case Form::jensen_shannon: {
            const at::Tensor log_mixture =
                at::logaddexp(log_teacher + std::log(beta), log_student + std::log(1 - beta));
            divergence = beta * weighted(log_teacher, log_teacher - log_mixture) +
                         (1 - beta) * weighted(log_student, log_student - log_mixture);
            break;
        }
        case Form::cross_entropy:
            divergence = -weighted(log_teacher, log_student);
            break;
        case Form::squared:
            divergence = (log_student.exp() - log_teacher.exp()).square();
            break;
        case Form::guarded: {
            const at::Tensor probabilities = log_teacher.exp();
            divergence = probabilities *
                         (probabilities / (log_student.exp() + options.epsilon) + options.epsilon).log();
            break;
        }
        case Form::shifted: {
            const at::Tensor goal = log_teacher.exp() + options.epsilon;
            divergence = goal * (goal.log() - log_student);
            break;
        }
    }
    const double factor = options.t_squared ? options.temperature * options.temperature : 1.0;
    return reduce(divergence, options.reduction, PerSample::sum, factor);
}

/// The divergence of `row_divergence` that a form corresponds to, if any.
inline std::optional<RowForm> row_form(SoftTarget::Form form) {
    switch (form) {
        case SoftTarget::Form::forward:
            return RowForm::forward;
        case SoftTarget::Form::reverse:
            return RowForm::reverse;
        case SoftTarget::Form::symmetric:
            return RowForm::symmetric;
        case SoftTarget::Form::jensen_shannon:
            return RowForm::jensen_shannon;
        case SoftTarget::Form::cross_entropy:
            return RowForm::cross_entropy;
        case SoftTarget::Form::squared:
        case SoftTarget::Form::guarded:
        case SoftTarget::Form::shifted:
            break;
    }
    return std::nullopt;
}

}  // namespace detail

namespace functional {

/// See `SoftTarget`.
/// \throws ConfigError if the temperature is not above 0 or beta is not in [0, 1]; ShapeError if the logits do not
/// match
inline at::Tensor soft_target(const at::Tensor& student, const at::Tensor& teacher,
                              const SoftTarget& options = {}) {
    options.check();
    const detail::TensorPair both = detail::logit_pair("soft_target", student, teacher);
    const at::Tensor own = detail::at_least_float32(both.student);
    const at::Tensor goal = options.detach ? detail::constant(both.teacher) : both.teacher;
    const std::optional<detail::RowForm> form = detail::row_form(options.form);
    if (!form || goal.requires_grad()) return detail::composed_soft_target(own, goal, options);
    return detail::with_known_gradient(
        own,
        [&](bool with_gradient) {
            const double factor = options.t_squared ? options.temperature * options.temperature : 1.0;
            return detail::reduced_rows(
                detail::row_divergence(detail::log_probabilities(own, options.temperature),
                                       detail::log_probabilities(goal, options.temperature),
                                       {.form = *form, .beta = options.beta}, with_gradient),
                both.student.size(1), options.reduction, factor, factor / options.temperature);
        },
        [goal, options](const at::Tensor& input) {
            return detail::composed_soft_target(input, goal, options);
        });
}

}  // namespace functional

template <class Student, class Teacher, class B>
at::Tensor SoftTarget::operator()(const Student& student, const Teacher& teacher, const B&) const {
    return functional::soft_target(detail::student_logits<SoftTarget>(student),
                                   detail::teacher_logits<SoftTarget>(teacher), *this);
}

inline void SoftTarget::check() const {
    detail::check_temperature("SoftTarget", temperature);
    if (form == Form::symmetric) detail::check_range("SoftTarget", "a beta", beta, detail::in_closed(0, 1));
    if (form == Form::jensen_shannon && !(beta > 0 && beta < 1)) {
        throw ConfigError(detail::concat(
            "SoftTarget: expected a beta between 0 and 1 for the Jensen-Shannon form (which is "
            "0 at both ends; "
            "Form::forward and Form::reverse are the Kullback-Leibler divergences), found ",
            beta));
    }
    if (form == Form::guarded || form == Form::shifted)
        detail::check_range("SoftTarget", "an epsilon", epsilon, detail::above(0));
}

}  // namespace retort
