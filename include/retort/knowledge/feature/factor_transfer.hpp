// SPDX-License-Identifier: BSL-1.0
/// \file
/// Factor transfer: matches the student's factor to the teacher's, as found by a paraphraser.
#pragma once

#include <ATen/ops/abs.h>
#include <ATen/ops/mse_loss.h>
#include <c10/core/GradMode.h>

#include <memory>
#include <string>
#include <utility>

#include <retort/detail/tensor.hpp>
#include <retort/knowledge/connector/paraphraser.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/learnable.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/feature/attention_transfer.hpp>
#include <retort/knowledge/feature/hint.hpp>

namespace retort {

/// Options of `FactorTransfer` and `functional::factor_transfer`.
struct FactorTransferOptions {
    /// What is compared.
    enum class Form {
        paper,          ///< the whole factors, divided by their norms
        rep_distiller,  ///< their attention maps (`functional::attention_map`)
    };

    Form form = Form::paper;
    double norm = 1;   ///< the power p of the differences; at least 1
    double power = 2;  ///< of the attention maps; unused by `paper`
    Reduction reduction = Reduction::mean;

    /// The paper's: p = 1 or 2 (default 1), on whole factors.
    static FactorTransferOptions paper() { return {}; }
    /// Not the paper's loss, but that of the released code used in published benchmarks; weight 200.
    static FactorTransferOptions rep_distiller() { return {.form = Form::rep_distiller}; }
    void check() const {
        detail::check_range("FactorTransfer", "a norm", norm, detail::at_least(1));
        detail::check_range("FactorTransfer", "a power", power, detail::above(0));
    }
};

namespace functional {

/// See `FactorTransfer`.
/// Shapes: both [batch, channels, height, width]; larger maps are average-pooled to the size of the smaller.
inline at::Tensor factor_transfer(const at::Tensor& student, const at::Tensor& teacher,
                                  const FactorTransferOptions& options = {}) {
    options.check();
    const detail::TensorPair both =
        detail::feature_pair("factor_transfer", student, teacher, 3, "[batch, channels, ...]");
    detail::check_channels("factor_transfer", both.student, both.teacher);
    const auto [factor_s, factor_t] =
        detail::pool_larger("factor_transfer", both.student, detail::constant(both.teacher));
    const bool attention = options.form == FactorTransferOptions::Form::rep_distiller;
    const auto compared = [&](const at::Tensor& factor) {
        return attention
                   ? attention_map(factor, options.power)
                   : detail::normalized(detail::at_least_float32(factor).reshape({factor.size(0), -1}), 1);
    };
    const at::Tensor difference = compared(factor_s) - compared(factor_t);
    if (options.norm == 1) return detail::reduce(difference.abs(), options.reduction);
    if (attention) {
        const at::Tensor powers =
            options.norm == 2 ? difference * difference : difference.abs().pow(options.norm);
        return detail::reduce(powers, options.reduction);
    }
    return detail::reduce(at::linalg_vector_norm(difference, options.norm, 1), options.reduction);
}

/// Mean squared difference of a feature and its reconstruction: the loss of the first stage of factor transfer.
/// Gradient: to the reconstruction.
inline at::Tensor factor_reconstruction(const at::Tensor& reconstruction, const at::Tensor& feature,
                                        Reduction reduction = Reduction::mean) {
    detail::check_alike("factor_reconstruction", "the reconstruction", reconstruction, "the feature",
                        feature);
    return hint(reconstruction, feature, {.reduction = reduction});
}

}  // namespace functional

/// The first stage of factor transfer: the paraphraser learns to express the teacher's feature with fewer channels.
///
///     retort::Paraphraser paraphraser{256, 0.5};
///     retort::FactorReconstruction{retort::tap<&BigOutputs::stage3>, paraphraser}
///
/// Formula: \f$ \mathrm{mean} (D(E(F_t)) - F_t)^2 \f$.
/// Gradient: to the paraphraser only, not to the student.
/// Learnable: the paraphraser.
/// Source: Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS
/// 2018, Eq. 1.
template <class TeacherTap>
class FactorReconstruction {
  public:
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    explicit FactorReconstruction(TeacherTap teacher, Paraphraser paraphraser)
        : teacher_(std::move(teacher)), paraphraser_(std::move(paraphraser)) {
        if (paraphraser_.is_empty())
            throw ConfigError("FactorReconstruction: expected a paraphraser, found an empty holder");
    }
    std::string name() const {
        return detail::concat("factor_reconstruction(", detail::tap_name(teacher_), ')');
    }
    static constexpr bool prepared() { return true; }
    template <class Student, class Teacher, class B>
    void prepare(const Student&, const Teacher* teacher, const B&) {
        if (teacher != nullptr) {
            const at::Tensor feature = teacher_(*teacher);
            paraphraser_->to(feature.device(), feature.scalar_type());
        }
    }
    std::shared_ptr<torch::nn::Module> module() const { return paraphraser_.ptr(); }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student&, const Teacher& teacher, const B&) const {
        const at::Tensor feature = detail::constant(teacher_(teacher));
        detail::check_feature(name(), "the teacher's feature", feature, 4,
                              "[batch, channels, height, width]");
        return functional::factor_reconstruction(paraphraser_.ptr()->forward(feature), feature);
    }

  private:
    TeacherTap teacher_;
    Paraphraser paraphraser_;
};

namespace detail {

struct FactorParts {
    Paraphraser paraphraser;
    Translator translator;
    FactorTransferOptions options;

    bool sized() const { return translator.sized(); }
    FactorEncoder build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        return translator.build(student, teacher);
    }
    template <class Module>
    at::Tensor loss(Module& module, const at::Tensor& student, const at::Tensor& teacher) const {
        return functional::factor_transfer(module.forward(student), teacher_factor(teacher), options);
    }
    at::Tensor teacher_factor(const at::Tensor& teacher) const {
        const c10::NoGradGuard guard;
        return paraphraser.ptr()->encode(in_type_of(*paraphraser, teacher));
    }
    void check() const { options.check(); }
};

}  // namespace detail

/// Factor transfer, the second stage: matches the student's factor, from a translator, to the teacher's, from the now
/// fixed paraphraser.
///
///     retort::FactorTransfer{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>,
///     paraphraser}
///
/// Formula: \f$ \mathrm{mean} \left| \frac{f_s}{\|f_s\|} - \frac{f_t}{\|f_t\|} \right| \f$ (`norm` 1), or the mean
/// over the samples of the p-norm of the difference (`norm` p); `rep_distiller` uses the factors' attention maps
/// instead of the factors, and for p the mean of the p-th powers. Never negative; 0 at equality. A factor of zeros
/// has norm 0: its quotient is 0, without gradient.
/// Shapes: [batch, channels, height, width]; the larger factor is average-pooled to the size of the smaller.
/// Gradient: to the student's feature and the translator; not to the paraphraser.
/// Reductions: elements are those of the factors (or maps); with the paper's p-norm they are the samples.
/// Learnable: the translator. The paraphraser belongs to the teacher's side: `FactorReconstruction` trains
/// and saves it.
/// Source: Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS
/// 2018, Eq. 2.
template <class StudentTap, class TeacherTap>
class FactorTransfer : public detail::FeatureTerm<StudentTap, TeacherTap, detail::FactorParts> {
    using Base = detail::FeatureTerm<StudentTap, TeacherTap, detail::FactorParts>;

  public:
    explicit FactorTransfer(StudentTap student, TeacherTap teacher, Paraphraser paraphraser,
                            FactorTransferOptions options = {}, Translator translator = {})
        : Base("factor_transfer", std::move(student), std::move(teacher),
               {paraphraser, with_sizes(translator, paraphraser), options}) {}

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        Base::prepare(student, teacher, batch);
        const at::Tensor feature = this->taps_.student(student);
        this->parts_.paraphraser->to(feature.device(), feature.scalar_type());
    }

  private:
    static Translator with_sizes(Translator translator, const Paraphraser& paraphraser) {
        if (paraphraser.is_empty())
            throw ConfigError("FactorTransfer: expected a paraphraser, found an empty holder");
        if (translator.out == 0) translator.out = paraphraser.ptr()->factor_channels();
        return translator;
    }
};

}  // namespace retort
