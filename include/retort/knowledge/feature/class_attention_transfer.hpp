// SPDX-License-Identifier: BSL-1.0
/// \file
/// Class attention transfer: matches the student's class activation maps to the teacher's.
#pragma once

#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/topk.h>

#include <algorithm>
#include <utility>

#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `ClassAttentionTransfer` and `functional::class_attention_transfer`. The defaults are the released
/// code's, with weight 400; 15, 600 or 1.8 for some pairs of networks.
struct ClassAttentionTransferOptions {
    std::int64_t resolution = 2;   ///< the maps are averaged to this height and width; at least 1
    bool normalize = true;         ///< divide every map by its norm; with resolution 1 only the sign is left
    bool binarize = false;         ///< binarize the teacher's map: 1 above its mean magnitude, else 0
    std::int64_t top_classes = 0;  ///< only the teacher's likeliest classes; 0: all
    Reduction reduction = Reduction::mean;  ///< elements are those of the averaged maps

    void check() const {
        detail::check_range("ClassAttentionTransfer", "a resolution", resolution, detail::at_least(1));
        detail::check_range("ClassAttentionTransfer", "top_classes", top_classes, detail::at_least(0));
    }
};

namespace functional {

/// See `ClassAttentionTransfer`.
inline at::Tensor class_attention_transfer(const at::Tensor& student, const at::Tensor& teacher,
                                           const ClassAttentionTransferOptions& options = {}) {
    options.check();
    const detail::TensorPair both = detail::feature_pair("class_attention_transfer", student, teacher, 4,
                                                         "[batch, classes, height, width]");
    detail::check_channels("class_attention_transfer", both.student, both.teacher);
    at::Tensor maps_s = detail::at_least_float32(both.student);
    at::Tensor maps_t = detail::at_least_float32(detail::constant(both.teacher));
    at::Tensor classes;
    if (options.top_classes > 0 && options.top_classes < both.teacher.size(1)) {
        classes = std::get<1>(at::topk(maps_t.mean({2, 3}), options.top_classes, 1));
    }
    if (options.binarize) {
        maps_t = (maps_t > maps_t.abs().mean({2, 3}, /*keepdim=*/true)).to(maps_t.scalar_type());
    }
    const auto compared = [&](const at::Tensor& maps) {
        at::Tensor result =
            at::adaptive_avg_pool2d(maps, {options.resolution, options.resolution}).flatten(2);
        if (classes.defined()) {
            result = at::gather(result, 1, classes.unsqueeze(-1).expand({-1, -1, result.size(2)}));
        }
        return options.normalize ? detail::normalized(result, 2) : result;
    };
    return detail::reduce(at::mse_loss(compared(maps_s), compared(maps_t), at::Reduction::None),
                          options.reduction);
}

}  // namespace functional

/// Class attention transfer between two networks whose heads compute a class activation map per class: a 1x1
/// convolution to the classes, with the means of its maps as logits.
///
/// Formula: \f$ \mathrm{mean} (\hat A_s - \hat A_t)^2 \f$ with the maps averaged to `resolution` squared,
/// each divided by its norm; a map of zeros stays so and has no gradient. Never negative; 0 at equality.
/// Shapes: [batch, classes, height, width]; equal numbers of classes, the sizes of maps may differ.
/// Gradient: to the student's maps.
/// Reductions: elements are those of the averaged maps of the selected classes, `none` is the mean of each sample.
/// `top_classes` n keeps n classes; the corresponding released option keeps one fewer.
/// Source: Guo, Yan, Li, Lin, Han, Yang, Tao, Hu, "Class Attention Transfer Based Knowledge Distillation",
/// CVPR 2023.
template <class StudentTap, class TeacherTap>
class ClassAttentionTransfer
    : public detail::FeatureTerm<StudentTap, TeacherTap,
                                 detail::ConnectedLoss<&functional::class_attention_transfer,
                                                       ClassAttentionTransferOptions, Identity>> {
  public:
    explicit ClassAttentionTransfer(StudentTap student, TeacherTap teacher,
                                    ClassAttentionTransferOptions options = {})
        : ClassAttentionTransfer::FeatureTerm("class_attention_transfer", std::move(student),
                                              std::move(teacher), {Identity{}, options}) {}
};

}  // namespace retort
