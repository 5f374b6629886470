// SPDX-License-Identifier: BSL-1.0
/// \file
/// Universal self-knowledge distillation: customized soft labels without a teacher.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/scatter.h>
#include <ATen/ops/zeros_like.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/learnable.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/tap/tap.hpp>

namespace retort {

/// Options of `UniversalSelfKd` and `functional::universal_self_kd`.
struct UniversalSelfKdOptions {
    /// What the classes are ranked by, together with the weak head's probabilities; and which classes are targets if
    /// the targets are probabilities.
    enum class Rank {
        probabilities,  ///< the student's probabilities; classes of target probability 0 are not targets
        as_released,    ///< the student's LOG-probabilities, since the code overwrites variables; the two
                        ///< most probable classes are targets, even of probability 0
    };

    double target_weight = 1.0;      ///< alpha
    double non_target_weight = 0.1;  ///< beta
    double weak_weight = 0.005;      ///< mu
    double label_smoothing = 0.1;    ///< of the weak head's targets
    Rank rank = Rank::probabilities;
    Reduction reduction = Reduction::batchmean;

    /// The defaults.
    static UniversalSelfKdOptions image_net() { return {}; }
    static UniversalSelfKdOptions cifar() { return {.target_weight = 0.1, .weak_weight = 0.1}; }
    static UniversalSelfKdOptions as_released() { return {.rank = Rank::as_released}; }

    void check() const {
        detail::check_range("UniversalSelfKd", "a target_weight", target_weight, detail::at_least(0));
        detail::check_range("UniversalSelfKd", "a non_target_weight", non_target_weight, detail::at_least(0));
        detail::check_range("UniversalSelfKd", "a weak_weight", weak_weight, detail::at_least(0));
        detail::check_range("UniversalSelfKd", "a label smoothing", label_smoothing, detail::in_closed(0, 1));
    }
};

namespace functional {

/// Soft labels derived from the student itself and a weak head on an intermediate feature.
///
/// Formula: \f$ \alpha L_{target} + \beta L_{others} + \mu L_{weak} \f$, where
/// - \f$ L_{target} = -w \log p_y \f$ per sample, \f$ w = p_y^2 + 1 - \mathrm{mean}(p_y^2) \f$ over the batch, a
/// constant (with two targets of shares v, the sum over both with v in place of 1);
/// - \f$ L_{others} \f$ is the cross-entropy of the student's softmax over the non-target classes with Zipf's law: 1
/// / rank, normalized over them. The rank is that of \f$ q_c / (1 - q_y) + p_c / (1 - p_y) \f$ among all classes,
/// with the weak head's probabilities q; constants;
/// - \f$ L_{weak} \f$ is the weak head's cross-entropy with the smoothed targets.
/// Shapes: the student's and the weak head's logits [batch, classes], at least 2 classes; targets [batch] of
/// class indices, or [batch, classes] of probabilities of at most two classes each (mixup).
/// Gradient: to both logits.
/// Reductions: `batchmean` (default; `mean` is the same, elements are samples), `sum`, `none`.
/// Source: Yang, Zeng, Li, Zhang, Yuan, Li, "From Knowledge Distillation to Self-Knowledge Distillation: A
/// Unified Approach with Normalized Loss and Customized Soft Labels", ICCV 2023; settings of cls_KD.
/// \throws ConfigError if an option is out of range; ShapeError if logits and targets do not match
inline at::Tensor universal_self_kd(const at::Tensor& student, const at::Tensor& weak,
                                    const at::Tensor& target, const UniversalSelfKdOptions& options = {}) {
    using Rank = UniversalSelfKdOptions::Rank;
    options.check();
    detail::check_logits("universal_self_kd", "the student's logits", student);
    detail::check_logits("universal_self_kd", "the weak head's logits", weak);
    detail::check_alike("universal_self_kd", "the student's logits", student, "the weak head's logits", weak);
    const detail::TensorPair both = detail::in_one_type(student, weak);
    detail::check_two_classes("universal_self_kd", both.student);
    const bool indices = detail::targets_are_indices("universal_self_kd", target, both.student);

    const at::Tensor scores = detail::at_least_float32(both.student);
    at::Tensor classes, shares;  // [batch, 1], or [batch, 2] of mixed targets
    if (indices) {
        classes = target.unsqueeze(1);
    } else {
        std::tie(shares, classes) = detail::constant(target).sort(1, /*descending=*/true);
        shares = shares.slice(1, 0, 2).to(scores.scalar_type());
        classes = classes.slice(1, 0, 2);
    }

    // The target classes.
    const at::Tensor log_probabilities = at::log_softmax(scores, 1);
    const at::Tensor log_targets = log_probabilities.gather(1, classes);
    const at::Tensor squares = log_targets.detach().exp().square();
    const at::Tensor relative = squares - squares.mean(0, /*keepdim=*/true);
    const at::Tensor weights =
        shares.defined() ? (relative + shares).masked_fill(shares == 0, 0.0) : relative + 1;
    const at::Tensor loss_of_target = -(weights * log_targets).sum(1);

    // The weak head.
    const at::Tensor log_weak = at::log_softmax(detail::at_least_float32(both.teacher), 1);
    const at::Tensor hard =
        indices ? log_weak.gather(1, classes).squeeze(1) : (detail::constant(target) * log_weak).sum(1);
    const at::Tensor loss_of_weak =
        -(1 - options.label_smoothing) * hard - options.label_smoothing * log_weak.mean(1);

    // The order of the classes.
    const at::Tensor weak_probabilities = log_weak.detach().exp();
    const bool released = options.rank == Rank::as_released;
    const at::Tensor own = released ? log_probabilities.detach() : log_probabilities.detach().exp();
    const at::Tensor counted =  // classes of share 0 are not targets
        shares.defined() && !released ? (shares > 0).to(scores.scalar_type()) : at::Tensor();
    const auto rest = [&](const at::Tensor& values) {
        const at::Tensor of_targets = values.gather(1, classes);
        return 1 - (counted.defined() ? of_targets * counted : of_targets).sum(1, /*keepdim=*/true) + 1e-6;
    };
    const at::Tensor standing = weak_probabilities / rest(weak_probabilities) + own / rest(own);
    const at::Tensor place = standing.argsort(std::int64_t{1}, /*descending=*/true).argsort(std::int64_t{1});
    const at::Tensor zipf = (place + 1).to(scores.scalar_type()).reciprocal();

    // The other classes. The targets are removed by index, not by a selection whose size depends on values.
    const at::Tensor none = at::zeros_like(zipf);
    const at::Tensor targets = counted.defined() ? at::scatter(none, 1, classes, counted) > 0
                                                 : at::scatter(none, 1, classes, 1.0) > 0;
    const at::Tensor labels = zipf.masked_fill(targets, 0.0);
    const at::Tensor log_others =
        at::log_softmax(scores.masked_fill(targets, -std::numeric_limits<double>::infinity()), 1)
            .masked_fill(targets, 0.0);
    const at::Tensor loss_of_others =
        -(labels * log_others).sum(1) / labels.sum(1).clamp_min(std::numeric_limits<float>::min());

    return detail::reduce(detail::scaled(loss_of_target, options.target_weight) +
                              detail::scaled(loss_of_others, options.non_target_weight) +
                              detail::scaled(loss_of_weak, options.weak_weight),
                          options.reduction);
}

}  // namespace functional

/// The term of `functional::universal_self_kd`: needs no teacher, but a weak head, a learnable linear map of a pooled
/// intermediate feature.
///
///     retort::UniversalSelfKd{retort::tap<&Outputs::pooled>}
///
/// Shapes: the tap's feature [batch, width].
/// Learnable: the weak head, sized by the first batch.
template <class Tap>
class UniversalSelfKd {
  public:
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = true;

    explicit UniversalSelfKd(Tap feature, UniversalSelfKdOptions options = {})
        : feature_(std::move(feature)), options_(std::move(options)) {}

    std::string name() const { return "universal_self_kd(" + detail::tap_name(feature_) + ")"; }
    void check() const { options_.check(); }
    bool prepared() const { return head_.built(); }
    std::shared_ptr<torch::nn::Module> module() const { return head_.module(); }

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher*, const B&) {
        const at::Tensor feature = checked(feature_(student));
        if (!prepared()) {
            const at::Tensor& scores = detail::student_logits<UniversalSelfKd>(student);
            detail::check_logits(name(), "the student's logits", scores);
            head_.build(name(), [&] {
                return torch::nn::Linear(torch::nn::LinearOptions(feature.size(1), scores.size(1)));
            });
        }
        head_.follow(feature);
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher&, const B& batch) const {
        static_assert(TapOf<Tap, Student>,
                      "retort: the tap of UniversalSelfKd does not read a tensor from the student's outputs");
        const at::Tensor weak = head_->forward(checked(feature_(student)));
        return functional::universal_self_kd(detail::student_logits<UniversalSelfKd>(student), weak,
                                             target(batch), options_);
    }

  private:
    at::Tensor checked(const at::Tensor& feature) const {
        if (!feature.defined() || feature.dim() != 2) {
            throw ShapeError(detail::concat(name(),
                                            ": expected a pooled feature of shape [batch, width], found ",
                                            detail::shape_text(feature)));
        }
        detail::check_floating(name(), "a pooled feature", feature);
        return feature;
    }

    Tap feature_;
    UniversalSelfKdOptions options_;
    detail::Learnable<torch::nn::Linear> head_;
};

}  // namespace retort
