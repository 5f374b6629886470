// SPDX-License-Identifier: BSL-1.0
/// \file
/// Attention transfer: matches the spatial attention maps of the student's feature to the teacher's.
#pragma once

#include <ATen/ops/mse_loss.h>

#include <utility>

#include <retort/detail/products.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `AttentionTransfer`, `functional::attention_code` and `functional::attention_paper`.
///
/// The default is the form of the authors' released code, which published benchmarks use; the paper's is
/// `AttentionTransferOptions::paper()`. A weight is meaningless without the form: 1000 belongs to `code`.
struct AttentionTransferOptions {
    /// How two attention maps are compared.
    enum class Form {
        code,   ///< mean squared difference over positions and samples
        paper,  ///< Euclidean distance, mean over the samples
    };

    double power = 2;  ///< above 0; odd powers keep the signs of the feature
    Form form = Form::code;
    Reduction reduction = Reduction::mean;

    static AttentionTransferOptions paper() { return {.form = Form::paper}; }
    static AttentionTransferOptions rep_distiller() { return {}; }
    void check() const { detail::check_range("AttentionTransfer", "a power", power, detail::above(0)); }
};

namespace functional {

/// The attention map of each sample: the mean of the powers of the feature over the channels, divided by its
/// norm.
/// Shapes: [batch, channels, ...] to [batch, positions]. An all-zero sample has an all-zero map, and no
/// gradient.
inline at::Tensor attention_map(const at::Tensor& feature, double power = 2) {
    detail::check_feature("attention_map", "the feature", feature, 3, "[batch, channels, ...]");
    const at::Tensor values = detail::at_least_float32(feature);
    const at::Tensor means = power == 2   ? detail::mean_square(values)
                             : power == 1 ? values.mean(1)
                                          : values.pow(power).mean(1);
    return detail::normalized(means.reshape({feature.size(0), -1}), 1);
}

}  // namespace functional

namespace detail {

inline std::pair<at::Tensor, at::Tensor> attention_maps(const char* where, const at::Tensor& student,
                                                        const at::Tensor& teacher,
                                                        const AttentionTransferOptions& options) {
    options.check();
    const TensorPair both = feature_pair(where, student, teacher, 3, "[batch, channels, ...]");
    const auto [small_student, small_teacher] = pool_larger(where, both.student, constant(both.teacher));
    return {functional::attention_map(small_student, options.power),
            functional::attention_map(small_teacher, options.power)};
}

}  // namespace detail

namespace functional {

/// Formula: \f$ \mathrm{mean}_{b,i} (\hat a_s - \hat a_t)^2, \; \hat a = a / \|a\|, \; a_i = \mathrm{mean}_c
/// F_{c,i}^p \f$; see `AttentionTransfer`.
inline at::Tensor attention_code(const at::Tensor& student, const at::Tensor& teacher,
                                 const AttentionTransferOptions& options = {}) {
    const auto [map_s, map_t] = detail::attention_maps("attention_code", student, teacher, options);
    if (options.reduction == Reduction::mean) return at::mse_loss(map_s, map_t);
    return detail::reduce((map_s - map_t).square(), options.reduction);
}

/// Formula: \f$ \mathrm{mean}_b \| \hat a_s - \hat a_t \|_2 \f$ with the maps of `attention_code`; the
/// gradient at equality is 0. See `AttentionTransfer`.
inline at::Tensor attention_paper(
    const at::Tensor& student, const at::Tensor& teacher,
    const AttentionTransferOptions& options = AttentionTransferOptions::paper()) {
    const auto [map_s, map_t] = detail::attention_maps("attention_paper", student, teacher, options);
    return detail::reduce(at::linalg_vector_norm(map_s - map_t, 2, 1), options.reduction);
}

/// `attention_code` or `attention_paper`, depending on the options.
inline at::Tensor attention_transfer(const at::Tensor& student, const at::Tensor& teacher,
                                     const AttentionTransferOptions& options = {}) {
    return options.form == AttentionTransferOptions::Form::paper ? attention_paper(student, teacher, options)
                                                                 : attention_code(student, teacher, options);
}

}  // namespace functional

/// Attention transfer on one layer; several layers are a `Sum`.
///
///     retort::AttentionTransfer{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>}
///
/// Formula: `functional::attention_code` (default) or `functional::attention_paper`.
/// Shapes: [batch, channels, ...]; the numbers of channels may differ, and so may the map sizes: the larger map is
/// average-pooled to the size of the smaller.
/// Gradient: to the student's feature.
/// Reductions: `code`: elements are the positions, `none` is the mean of each sample. `paper`: elements are
/// the samples.
/// Source: Zagoruyko, Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.1.
template <class StudentTap, class TeacherTap>
class AttentionTransfer
    : public detail::FeatureTerm<
          StudentTap, TeacherTap,
          detail::ConnectedLoss<&functional::attention_transfer, AttentionTransferOptions, Identity>> {
  public:
    explicit AttentionTransfer(StudentTap student, TeacherTap teacher, AttentionTransferOptions options = {})
        : AttentionTransfer::FeatureTerm("attention_transfer", std::move(student), std::move(teacher),
                                         {Identity{}, options}) {}
};

}  // namespace retort
