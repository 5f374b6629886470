// SPDX-License-Identifier: BSL-1.0
/// \file
/// Self-supervision as knowledge (SSKD): matching transformed views to their samples, and the logits of the
/// transformed views.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>

#include <cstdint>
#include <string>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/connector/identity.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/function_term.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>

namespace retort {

/// Options of `SelfSupervision` and `functional::self_supervision`.
struct SelfSupervisionOptions {
    std::int64_t views = 4;    ///< of each sample, in consecutive rows, the plain one first; at least 2
    double temperature = 0.5;  ///< above 0
    double keep = 0.75;        ///< fraction of the views the teacher gets wrong that count; from 0 to 1
    bool t_squared = true;     ///< multiply by the squared temperature
    Reduction reduction = Reduction::batchmean;  ///< elements are the views that count; not `mean`

    /// \throws ConfigError
    void check() const {
        detail::check_range("SelfSupervision", "a number of views", views, detail::at_least(2));
        detail::check_range("SelfSupervision", "a temperature", temperature, detail::above(0));
        detail::check_range("SelfSupervision", "a fraction to keep", keep, detail::in_closed(0, 1));
        if (reduction == Reduction::mean) {
            throw ConfigError("SelfSupervision: expected the reduction batchmean, sum or none, found mean");
        }
    }
};

/// Options of `TransformedTarget` and `functional::transformed_target`.
struct TransformedTargetOptions {
    double temperature = 4;  ///< above 0
    double keep = 1;         ///< fraction of the views the teacher gets wrong that count; from 0 to 1
    bool t_squared = true;   ///< multiply by the squared temperature
    Reduction reduction = Reduction::batchmean;  ///< elements are the views that count; not `mean`

    /// \throws ConfigError
    void check() const {
        detail::check_range("TransformedTarget", "a temperature", temperature, detail::above(0));
        detail::check_range("TransformedTarget", "a fraction to keep", keep, detail::in_closed(0, 1));
        if (reduction == Reduction::mean) {
            throw ConfigError("TransformedTarget: expected the reduction batchmean, sum or none, found mean");
        }
    }
};

namespace detail {

/// Which rows of a teacher's scores [rows, choices] count: all whose correct choice [rows] ranks first, and of the
/// others the fraction `keep` (rounded down) that comes closest, earlier rows first. 1 or 0 per row, in the scores'
/// type.
inline at::Tensor kept_rows(const at::Tensor& scores, const at::Tensor& right, double keep) {
    const at::Tensor own = scores.gather(1, right.unsqueeze(1));
    const at::Tensor choices = at::arange(scores.size(1), right.options()).unsqueeze(0);
    // Among equal scores the earlier choice ranks first.
    const at::Tensor ahead =
        (scores > own).logical_or((scores == own).logical_and(choices < right.unsqueeze(1)));
    const at::Tensor rank = ahead.sum(1);
    const at::Tensor correct = (rank == 0).sum();
    const at::Tensor wrong = scores.size(0) - correct;
    const at::Tensor count = correct + (wrong * keep).floor();
    const at::Tensor order = rank.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
    const at::Tensor kept = (at::arange(scores.size(0), right.options()) < count).to(scores.scalar_type());
    return at::zeros_like(kept).scatter(0, order, kept);
}

/// The divergence of the rows that count, reduced. `none`: one value for each of `samples`, whose mean is the mean
/// over the rows.
inline at::Tensor kept_divergence(const at::Tensor& student, const at::Tensor& teacher,
                                  const at::Tensor& kept, std::int64_t samples, double temperature,
                                  bool t_squared, Reduction reduction) {
    const at::Tensor goal = at::log_softmax(teacher / temperature, 1);
    const at::Tensor divergence =
        (goal.exp() * (goal - at::log_softmax(student / temperature, 1))).sum(1) * kept;
    at::Tensor result;
    if (reduction == Reduction::sum) {
        result = divergence.sum();
    } else {
        // If no row counts, all are 0.
        const at::Tensor count = kept.sum().clamp_min(1);
        result = reduction == Reduction::none
                     ? divergence.view({samples, -1}).sum(1) / count * static_cast<double>(samples)
                     : divergence.sum() / count;
    }
    return t_squared ? result * (temperature * temperature) : result;
}

/// The cosines of all transformed views [samples * (views - 1)] with all plain ones [samples].
inline at::Tensor view_cosines(const at::Tensor& representation, std::int64_t views) {
    const at::Tensor unit = unit_rows(representation, 2, 1e-8);
    const at::Tensor grouped = unit.view({-1, views, unit.size(1)});
    return at::mm(grouped.narrow(1, 1, views - 1).reshape({-1, unit.size(1)}), grouped.select(1, 0).t());
}

/// The sample of each transformed view.
inline at::Tensor view_owners(std::int64_t samples, std::int64_t transformed, const at::Tensor& like) {
    return at::arange(samples * transformed, like.options().dtype(at::kLong)).div(transformed, "floor");
}

inline void check_views(std::string_view where, const at::Tensor& rows, std::int64_t views) {
    if (rows.size(0) % views != 0) {
        throw ShapeError(concat(where, ": expected ", views, " consecutive views of each sample, found ",
                                rows.size(0), " rows"));
    }
}

}  // namespace detail

namespace functional {

/// Divergence of the student's predictions from the teacher's of which sample a transformed view belongs to.
///
/// Formula: with the cosines c between the representation of each transformed view and those of all plain views, \f$
/// T^2\, \mathrm{KL}(\sigma(c_t / T) \,\|\, \sigma(c_s / T)) \f$, mean over the transformed views that count: those
/// whose own sample the teacher ranks first, and the fraction `keep` of the others whose own sample it ranks highest.
/// Shapes: both [samples * views, ...], the views of a sample in consecutive rows, the plain one first; the widths
/// may differ.
/// Gradient: to the student's representation; the teacher's is a constant.
/// Reductions: `batchmean` (over the views that count, default), `sum`, `none` (a value for each sample;
/// their mean is `batchmean`).
/// Hazards: depends on the whole batch. Nothing is read back from the device: views that do not count have weight 0.
/// Among equal ranks the earlier view counts.
/// Source: Xu, Liu, Li, Loy, "Knowledge Distillation Meets Self-Supervision", ECCV 2020, and the authors' code:
/// weight 10, with 0.1 for cross-entropy, 0.9 for soft targets (temperature 4) and 2.7 for `transformed_target`.
/// \throws ShapeError, ConfigError
inline at::Tensor self_supervision(const at::Tensor& student, const at::Tensor& teacher,
                                   const SelfSupervisionOptions& options = {}) {
    options.check();
    const detail::TensorPair rows = detail::row_pair("self_supervision", student, teacher);
    detail::check_views("self_supervision", rows.student, options.views);
    const at::Tensor own = detail::view_cosines(rows.student, options.views);
    const at::Tensor goal = detail::view_cosines(rows.teacher, options.views);
    const at::Tensor kept =
        detail::kept_rows(goal, detail::view_owners(own.size(1), options.views - 1, own), options.keep);
    return detail::kept_divergence(own, goal, kept, own.size(1), options.temperature, options.t_squared,
                                   options.reduction);
}

/// Soft targets for transformed views, without some of those that the teacher gets wrong.
///
/// Formula: \f$ T^2\, \mathrm{KL}(\sigma(z_t / T) \,\|\, \sigma(z_s / T)) \f$, mean over the views that count: those
/// the teacher classifies correctly, and the fraction `keep` of the others whose class it ranks highest.
/// Shapes: logits [samples * k, classes], the k transformed views of a sample in consecutive rows; target [samples].
/// Gradient: to the student's logits; the teacher's are constants.
/// Reductions: as `self_supervision`.
/// Source: as `self_supervision`; all views count there.
/// \throws ShapeError, ConfigError
inline at::Tensor transformed_target(const at::Tensor& student, const at::Tensor& teacher,
                                     const at::Tensor& target, const TransformedTargetOptions& options = {}) {
    options.check();
    const detail::TensorPair both = detail::logit_pair("transformed_target", student, teacher);
    detail::check_defined("transformed_target", "the targets", target);
    if (target.dim() != 1 || target.size(0) == 0 || both.student.size(0) % target.size(0) != 0 ||
        target.scalar_type() != at::kLong) {
        throw ShapeError(
            detail::concat("transformed_target: expected an int64 class index for each sample and as many "
                           "views of each, found targets ",
                           detail::shape_text(target), " of ", target.scalar_type(), " and logits ",
                           detail::shape_text(both.student)));
    }
    detail::check_same_device("transformed_target", "the student's logits", both.student, "the targets",
                              target);
    const at::Tensor own = detail::at_least_float32(both.student);
    const at::Tensor goal = detail::at_least_float32(detail::constant(both.teacher));
    const std::int64_t views = both.student.size(0) / target.size(0);
    const at::Tensor right = target.unsqueeze(1).expand({-1, views}).reshape({-1});
    return detail::kept_divergence(own, goal, detail::kept_rows(goal, right, options.keep), target.size(0),
                                   options.temperature, options.t_squared, options.reduction);
}

/// Cross-entropy of predicting which sample a transformed view belongs to: trains the teacher's head before it
/// teaches.
///
/// Formula: \f$ -\log \sigma(c)_{own} \f$ with the cosines c of `self_supervision`; mean over the transformed
/// views.
/// Shapes: [samples * views, ...], the views of a sample in consecutive rows, the plain one first.
/// Gradient: to the representation.
/// Source: as `self_supervision`.
/// \throws ShapeError, ConfigError
inline at::Tensor view_recognition(const at::Tensor& representation, std::int64_t views = 4) {
    detail::check_range("view_recognition", "a number of views", views, detail::at_least(2));
    const at::Tensor rows = detail::rows("view_recognition", "the representation", representation);
    detail::check_views("view_recognition", rows, views);
    const at::Tensor cosines = detail::view_cosines(rows, views);
    const at::Tensor owners = detail::view_owners(cosines.size(1), views - 1, cosines);
    return -at::log_softmax(cosines, 1).gather(1, owners.unsqueeze(1)).mean();
}

}  // namespace functional

/// `functional::self_supervision` of a student's representation, through a learnable head, and a teacher's.
///
///     retort::SelfSupervision{retort::tap<&SmallOutputs::pooled>, retort::tap<&BigOutputs::head>,
///                             retort::Mlp{.in = 64, .hidden = 64, .out = 64}}
///
/// The teacher's tap reads the output of its own head, trained before with `functional::view_recognition`. Head of
/// the released code: two linear maps with ReLU between them, as wide as the feature.
/// Learnable: the head; built immediately if its options give its sizes, else from the first batch.
template <class StudentTap, class TeacherTap, Connector Head = Identity>
class SelfSupervision
    : public detail::FeatureTerm<
          StudentTap, TeacherTap,
          detail::ConnectedLoss<&functional::self_supervision, SelfSupervisionOptions, Head>> {
  public:
    explicit SelfSupervision(StudentTap student, TeacherTap teacher, Head head = {},
                             SelfSupervisionOptions options = {})
        : SelfSupervision::FeatureTerm("self_supervision", std::move(student), std::move(teacher),
                                       {std::move(head), options}) {
        options.check();
    }
};

/// `functional::transformed_target` of the logits of transformed views.
///
///     retort::TransformedTarget{retort::tap<&SmallOutputs::transformed>, retort::tap<&BigOutputs::transformed>}
template <class StudentTap, class TeacherTap>
class TransformedTarget {
  public:
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = true;

    explicit TransformedTarget(StudentTap student, TeacherTap teacher, TransformedTargetOptions options = {})
        : taps_("transformed_target", std::move(student), std::move(teacher)), options_(options) {
        options_.check();
    }
    std::string name() const { return taps_.name(); }
    void check() const { options_.check(); }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const {
        static_assert(LabeledBatch<B>, "retort: TransformedTarget needs a batch with targets");
        return detail::naming_taps(taps_, "transformed_target", [&] {
            return functional::transformed_target(taps_.student(student), taps_.teacher(teacher),
                                                  retort::target(batch), options_);
        });
    }

  private:
    detail::TapPair<StudentTap, TeacherTap> taps_;
    TransformedTargetOptions options_;
};

}  // namespace retort
