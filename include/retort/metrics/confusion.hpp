// SPDX-License-Identifier: BSL-1.0
/// \file
/// The confusion matrix.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <string>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/metrics/tally.hpp>

namespace retort::metrics {

/// The confusion matrix: how many samples of each class (row) were predicted as each class (column). The predicted
/// class is that of the largest logit (among equal logits, the first). Its value is the balanced accuracy, the mean
/// recall over the classes that occurred.
/// \throws (update) ShapeError as `Accuracy`; (matrix, recall, precision, value) DataError if there were no samples,
/// a target was out of range, or a row of logits had a NaN, which predicts no class
struct Confusion {
    static constexpr bool needs_teacher = false;
    std::int64_t ignore_index = ignored_target;  ///< predictions with this target do not count
    /// What has been accumulated so far.
    detail::Tally tally{};

    void update(const at::Tensor& logits, const at::Tensor& targets) {
        const c10::NoGradGuard no_grad;
        const auto [student_logits, target] = detail::rows_of(logits, targets);
        ::retort::detail::check_logits(name(), "the student's logits", student_logits, /*may_be_empty=*/true);
        detail::check_target(name(), student_logits, target);
        if (student_logits.size(0) == 0) return;
        const auto classes = student_logits.size(1);
        const auto prediction = detail::predict(student_logits);
        const auto counted = target.ne(ignore_index);
        const auto bad = detail::no_class(target, classes, counted);
        // One cell per pair of classes, then one for targets out of range, one for rows with a NaN and one for ignored
        // targets.
        const auto cell =
            target.mul(classes)
                .add_(prediction.place)
                .masked_fill_(bad, classes * classes)
                .masked_fill_(prediction.is_nan.logical_and(bad.logical_not()), classes * classes + 1)
                .masked_fill_(counted.logical_not(), classes * classes + 2);
        const auto none = at::zeros({classes * classes + 3}, cell.options());
        tally.add(name(), target.size(0), none.scatter_add(0, cell, cell.new_ones(cell.sizes())));
    }

    /// C x C (int64, CPU): rows are the true classes, columns the predicted ones.
    at::Tensor matrix() const {
        const auto cells = tally.read(name());
        const auto count = cells.size(0) - 3;
        const auto* special = cells.data_ptr<std::int64_t>() + count;
        detail::expect_classes(name(), special[0], tally.samples());
        if (special[1] > 0) {
            throw DataError(::retort::detail::concat(name(),
                                                     ": expected logits other than NaN, found NaN in ",
                                                     special[1], " of ", tally.samples(), " rows"));
        }
        std::int64_t classes = 1;
        while (classes * classes < count) ++classes;
        return cells.narrow(0, 0, count).view({classes, classes}).clone();
    }
    /// C numbers (float64): the recall of each class; NaN for a class that did not occur.
    at::Tensor recall() const { return of_diagonal(1); }
    /// C numbers (float64): the precision of each class; NaN for a class that was never predicted.
    at::Tensor precision() const { return of_diagonal(0); }
    /// The mean recall over the classes that occurred.
    double value() const { return recall().nanmean().item<double>(); }
    void reset() { tally = {}; }
    std::string name() const { return "balanced_accuracy"; }

  private:
    at::Tensor of_diagonal(std::int64_t summed) const {
        const c10::NoGradGuard no_grad;
        const auto counts = matrix().to(at::kDouble);
        return counts.diagonal().div(counts.sum(summed));
    }
};

}  // namespace retort::metrics
