// SPDX-License-Identifier: BSL-1.0
/// \file
/// Softmax regression: the teacher's classifier gives the teacher's logits for the student's feature.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>

#include <type_traits>
#include <utility>

#include <retort/core/logits.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/fixed_head.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `Srrl` and `functional::srrl`. The default is the released code's (cls_KD) for CIFAR.
struct SrrlOptions {
    double feature_weight = 1;              ///< at least 0
    double logit_weight = 5;                ///< at least 0
    Reduction reduction = Reduction::mean;  ///< elements are the samples

    static SrrlOptions cls_kd() { return {}; }
    static SrrlOptions cls_kd_imagenet() { return {.logit_weight = 1}; }
    static SrrlOptions sim_kd() { return {.logit_weight = 1}; }
    void check() const {
        detail::check_range("Srrl", "a feature_weight", feature_weight, detail::at_least(0));
        detail::check_range("Srrl", "a logit_weight", logit_weight, detail::at_least(0));
    }
};

namespace functional {

/// See `Srrl`.
/// \param student, teacher features [batch, channels] or [batch, channels, height, width]
/// \param student_logits the teacher's classifier on the student's feature
inline at::Tensor srrl(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& student_logits,
                       const at::Tensor& teacher_logits, const SrrlOptions& options = {}) {
    options.check();
    const detail::TensorPair both =
        detail::feature_pair("srrl", student, teacher, 2, "[batch, channels, ...]");
    detail::check_channels("srrl", both.student, both.teacher);
    detail::check_logits("srrl", "the student's logits", student_logits);
    detail::check_alike("srrl", "the student's logits", student_logits, "the teacher's logits",
                        teacher_logits);
    const detail::TensorPair scores = detail::in_one_type(student_logits, teacher_logits);
    const auto pooled = [](const at::Tensor& feature) {
        const at::Tensor values = detail::at_least_float32(feature);
        if (values.dim() == 2) return values;
        return values.dim() == 4 ? values.mean({2, 3}) : values.flatten(2).mean(2);
    };
    const auto weighted = [](const at::Tensor& value, double weight) {
        return weight == 1 ? value : value * weight;
    };
    const bool whole = options.reduction == Reduction::mean || options.reduction == Reduction::batchmean;
    const auto distance = [&](const at::Tensor& one, const at::Tensor& other) {
        if (whole) return at::mse_loss(one, other);
        return detail::reduce(at::mse_loss(one, other, at::Reduction::None), Reduction::none);
    };
    const at::Tensor value = weighted(distance(pooled(both.student), pooled(detail::constant(both.teacher))),
                                      options.feature_weight) +
                             weighted(distance(detail::at_least_float32(scores.student),
                                               detail::at_least_float32(detail::constant(scores.teacher))),
                                      options.logit_weight);
    return whole ? value : detail::reduce(value, options.reduction);
}

}  // namespace functional

namespace detail {

template <class Head, Connector C>
struct SrrlParts {
    FixedHead<Head> head;
    C connector;
    SrrlOptions options;

    bool sized() const { return connector.sized(); }
    auto build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        return connector.build(student, teacher);
    }
    void check() const { options.check(); }
};

}  // namespace detail

/// Softmax regression representation learning: matches the student's feature to the teacher's, and the teacher's
/// classifier on it to the teacher's logits.
///
///     retort::Srrl{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>, big->classifier}
///
/// Formula: \f$ \alpha \, \mathrm{mean} (\bar f_s - \bar f_t)^2 + \beta \, \mathrm{mean} (W_t \bar f_s -
/// z_t)^2 \f$ with \f$ f_s = r(F_s) \f$ from the connector, \f$ \bar f \f$ the mean over the positions, \f$ W_t
/// \f$ the teacher's classifier and \f$ z_t \f$ the teacher's logits. Never negative; 0 at equality.
/// Shapes: features [batch, channels, height, width]; a feature of shape [batch, channels] counts as a map of
/// one position. The sizes of the maps may differ.
/// Gradient: to the student's feature and the connector; it passes through the teacher's classifier without reaching
/// its parameters.
/// Reductions: elements are the samples.
/// Learnable: the connector, by default a 1x1 convolution without bias, batch norm and ReLU.
/// Source: Yang, Martinez, Bulat, Tzimiropoulos, "Knowledge Distillation via Softmax Regression
/// Representation Learning", ICLR 2021.
template <class StudentTap, class TeacherTap, class Head, Connector C = Conv1x1>
class Srrl : public detail::FeatureTerm<StudentTap, TeacherTap, detail::SrrlParts<Head, C>> {
    using Base = detail::FeatureTerm<StudentTap, TeacherTap, detail::SrrlParts<Head, C>>;

  public:
    /// \param classifier the teacher's: `torch::nn::Linear`, or another network or callable on [batch,
    /// channels]
    explicit Srrl(StudentTap student, TeacherTap teacher, Head classifier, C connector = default_connector(),
                  SrrlOptions options = {})
        : Base("srrl", std::move(student), std::move(teacher),
               {detail::FixedHead<Head>("Srrl", std::move(classifier)), std::move(connector), options}) {}

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B&) {
        const at::Tensor feature = as_map(this->taps_.student(student));
        if (!this->prepared()) this->build(feature.sizes(), as_map(this->taps_.teacher(*teacher)).sizes());
        this->learnable_.follow(feature);
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        const at::Tensor feature = as_map(this->taps_.student(student));
        const at::Tensor goal = as_map(this->taps_.teacher(teacher));
        const at::Tensor scores = detail::teacher_logits<Srrl>(teacher);
        return this->naming([&] {
            const at::Tensor mapped = this->learnable_->forward(feature);
            return functional::srrl(mapped, goal, this->parts_.head(mapped.mean({2, 3})), scores,
                                    this->parts_.options);
        });
    }

  private:
    static at::Tensor as_map(const at::Tensor& feature) {
        return feature.dim() == 2 ? feature.unsqueeze(-1).unsqueeze(-1) : feature;
    }
    static C default_connector() {
        if constexpr (std::is_same_v<C, Conv1x1>) {
            return Conv1x1{.bias = false, .batch_norm = true, .relu = true};
        } else {
            return C{};
        }
    }
};

}  // namespace retort
