// SPDX-License-Identifier: BSL-1.0
/// \file
/// Knowledge review: each layer of the teacher guides the corresponding layer of the student and all deeper ones.
#pragma once

#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <typeinfo>
#include <utility>
#include <vector>

#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/connector/attention_fusion.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/learnable.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/detail/tap_pair.hpp>

namespace retort {

/// Options of `functional::hierarchical_context`.
struct HierarchicalContextOptions {
    std::vector<std::int64_t> levels{4, 2, 1};  ///< sizes the maps are pooled to, from large to small
    Reduction reduction = Reduction::mean;      ///< elements are the samples

    void check() const {
        for (const std::int64_t level : levels) {
            detail::check_range("hierarchical_context", "levels", level, detail::at_least(1));
        }
    }
};

namespace functional {

/// Hierarchical context loss of two maps: their mean squared difference, and that of their averages over increasingly
/// coarse grids.
///
/// Formula: \f$ \left( \mathrm{MSE}(F_s, F_t) + \sum_{l=1}^{n} 2^{-l} \, \mathrm{MSE}(P_l F_s, P_l F_t)
/// \right) / \sum_{l=0}^{n} 2^{-l} \f$ over the n levels that are smaller than the map's height. Never
/// negative; 0 at equality.
/// Shapes: both [batch, channels, height, width], equal.
/// Gradient: to the student's feature.
/// Source: Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, Fig. 3b.
inline at::Tensor hierarchical_context(const at::Tensor& student, const at::Tensor& teacher,
                                       const HierarchicalContextOptions& options = {}) {
    options.check();
    const detail::TensorPair both = detail::equal_features("hierarchical_context", student, teacher, 4,
                                                           "[batch, channels, height, width]");
    const bool per_sample = options.reduction == Reduction::none || options.reduction == Reduction::sum;
    const auto distance = [&](const at::Tensor& one, const at::Tensor& other) {
        if (!per_sample) return at::mse_loss(one, other);
        return detail::reduce(at::mse_loss(one, other, at::Reduction::None), Reduction::none);
    };
    const at::Tensor from = detail::at_least_float32(both.student);
    const at::Tensor goal = detail::at_least_float32(detail::constant(both.teacher));
    at::Tensor result = distance(from, goal);
    double weight = 1;
    double total = 1;
    for (const std::int64_t level : options.levels) {
        if (level >= both.student.size(2)) continue;
        weight /= 2;
        total += weight;
        result = result + weight * distance(detail::pooled_to(from, level, level),
                                            detail::pooled_to(goal, level, level));
    }
    result = result / total;
    return per_sample ? detail::reduce(result, options.reduction) : result;
}

}  // namespace functional

/// Options of `ReviewKd`.
struct ReviewKdOptions {
    std::int64_t middle = 0;  ///< hidden channels; 0: those of the student's deepest feature, at most 512
    HierarchicalContextOptions context{};

    void check() const {
        detail::check_range("ReviewKd", "middle", middle, detail::at_least(0));
        context.check();
    }
};

namespace detail {

class ReviewModuleImpl : public torch::nn::Module {
  public:
    ReviewModuleImpl(const std::vector<std::int64_t>& from, const std::vector<std::int64_t>& to,
                     std::int64_t middle)
        : torch::nn::Module("ReviewKd") {
        for (std::size_t i = 0; i < from.size(); ++i) {
            fusions_.push_back(register_module(concat("fusion", i),
                                               AttentionFusion(from[i], middle, to[i], i + 1 < from.size())));
        }
    }
    std::size_t size() const { return fusions_.size(); }
    /// The student's features in the teacher's shapes.
    /// \param sizes [height, width] of each
    std::vector<at::Tensor> forward(const std::vector<at::Tensor>& features,
                                    const std::vector<at::Tensor>& like) {
        std::vector<at::Tensor> result(features.size());
        at::Tensor residual;
        for (std::size_t i = features.size(); i-- > 0;) {  // from deep to shallow
            std::tie(result[i], residual) =
                fusions_[i]->forward(features[i], residual, like[i].size(2), like[i].size(3));
        }
        return result;
    }

  private:
    std::vector<AttentionFusion> fusions_;
};
TORCH_MODULE(ReviewModule);

}  // namespace detail

/// Knowledge review over several layers.
///
///     retort::ReviewKd{retort::Taps{retort::tap<&SmallOutputs::stages, 0>,
///     retort::tap<&SmallOutputs::stages, 1>, retort::tap<&SmallOutputs::pooled>},
///                      retort::Taps{retort::tap<&BigOutputs::stages, 0>, retort::tap<&BigOutputs::stages,
///                      1>, retort::tap<&BigOutputs::pooled>}}
///
/// Formula: \f$ \sum_l \mathrm{HCL}(F'_{s,l}, F_{t,l}) \f$ with the features F' that `AttentionFusion` computes from
/// the student's, deep to shallow, and `functional::hierarchical_context`.
/// Shapes: as many features of the student as of the teacher, from shallow to deep, each [batch, channels,
/// height, width]; a feature of shape [batch, channels] counts as a map of one position. The released code
/// uses the pooled feature as the last one.
/// Gradient: to the student's features and the fusions.
/// Reductions: elements are the samples.
/// Learnable: the fusions. Published benchmarks use weight 1 (5 for resnet32x4, 1 or 8 on ImageNet) with 20 epochs of
/// linear warm-up (`Phases`, `Linear`).
/// Source: Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021.
template <class StudentTaps, class TeacherTaps>
class ReviewKd {
  public:
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    explicit ReviewKd(StudentTaps student, TeacherTaps teacher, ReviewKdOptions options = {})
        : taps_("review_kd", std::move(student), std::move(teacher)), options_(std::move(options)) {}

    std::string name() const { return taps_.name(); }
    void check() const { options_.check(); }
    bool prepared() const { return learnable_.built(); }
    std::shared_ptr<torch::nn::Module> module() const { return learnable_.module(); }

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B&) {
        const std::vector<at::Tensor> features = maps(taps_.student(student), "student");
        if (!prepared()) {
            const std::vector<at::Tensor> goals = maps(taps_.teacher(*teacher), "teacher");
            check_count(features, goals);
            std::vector<std::int64_t> from, to;
            for (const at::Tensor& each : features) from.push_back(each.size(1));
            for (const at::Tensor& each : goals) to.push_back(each.size(1));
            const std::int64_t middle =
                options_.middle > 0 ? options_.middle : std::min<std::int64_t>(512, from.back());
            learnable_.build(name() + typeid(ReviewKd).name(),
                             [&] { return detail::ReviewModule(from, to, middle); });
        }
        learnable_.follow(features.front());
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        const std::vector<at::Tensor> features = maps(taps_.student(student), "student");
        const std::vector<at::Tensor> goals = maps(taps_.teacher(teacher), "teacher");
        check_count(features, goals);
        at::Tensor result;
        std::size_t layer = 0;
        try {
            const std::vector<at::Tensor> fused = learnable_->forward(features, goals);
            for (; layer < fused.size(); ++layer) {
                const at::Tensor value =
                    functional::hierarchical_context(fused[layer], goals[layer], options_.context);
                result = result.defined() ? result + value : value;
            }
        } catch (const ShapeError& error) {
            throw ShapeError(detail::concat(name(), ", layer ", layer, ": ", error.what()));
        }
        return result;
    }

  private:
    std::vector<at::Tensor> maps(std::vector<at::Tensor> features, const char* whose) const {
        for (at::Tensor& each : features) {
            if (each.dim() == 2) each = each.unsqueeze(-1).unsqueeze(-1);
            if (each.dim() != 4 || each.numel() == 0)
                throw ShapeError(detail::concat(name(), ": expected the ", whose,
                                                "'s features of shape [batch, channels, height, width] or "
                                                "[batch, channels], found ",
                                                detail::shape_text(each)));
        }
        return features;
    }
    void check_count(const std::vector<at::Tensor>& features, const std::vector<at::Tensor>& goals) const {
        if (features.empty() || features.size() != goals.size()) {
            throw ShapeError(detail::concat(name(),
                                            ": expected as many features of the student as of the "
                                            "teacher, found ",
                                            features.size(), " and ", goals.size()));
        }
        if (prepared() && learnable_->size() != features.size()) {
            throw ShapeError(detail::concat(name(), ": expected ", learnable_->size(),
                                            " features, as in the first batch, found ", features.size()));
        }
    }

    detail::TapPair<StudentTaps, TeacherTaps> taps_;
    ReviewKdOptions options_;
    detail::Learnable<detail::ReviewModule> learnable_;
};

}  // namespace retort
