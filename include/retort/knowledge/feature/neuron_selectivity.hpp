// SPDX-License-Identifier: BSL-1.0
/// \file
/// Neuron selectivity transfer: matches the distributions of the channels' activation maps.
#pragma once

#include <ATen/ops/bmm.h>

#include <algorithm>
#include <utility>

#include <retort/detail/products.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `NeuronSelectivity` and `functional::neuron_selectivity`.
struct NeuronSelectivityOptions {
    Reduction reduction = Reduction::mean;  ///< elements are the samples
};

namespace functional {

/// Squared maximum mean discrepancy of the channels' maps under a polynomial kernel; see `NeuronSelectivity`.
inline at::Tensor neuron_selectivity(const at::Tensor& student, const at::Tensor& teacher,
                                     const NeuronSelectivityOptions& options = {}) {
    const detail::TensorPair both =
        detail::feature_pair("neuron_selectivity", student, teacher, 3, "[batch, channels, ...]");
    const auto [small_student, small_teacher] =
        detail::pool_larger("neuron_selectivity", both.student, detail::constant(both.teacher));
    const auto channels = [](const at::Tensor& feature) {
        return detail::normalized(
            detail::at_least_float32(feature).reshape({feature.size(0), feature.size(1), -1}), 2);
    };
    const at::Tensor of_student = channels(small_student);
    const at::Tensor of_teacher = channels(small_teacher);
    const std::int64_t count_s = of_student.size(1);
    const std::int64_t count_t = of_teacher.size(1);
    const std::int64_t positions = of_student.size(2);
    // The sum of k(x, y) = (x.y)^2 over all pairs of channels is the scalar product of the matrices of second moments
    // over positions, so that the discrepancy is the squared distance of two such matrices. With many more positions
    // than channels, products between channels are cheaper.
    if (positions * (count_s + count_t) <= count_s * count_s + count_t * count_t + count_s * count_t) {
        const at::Tensor moments_s = detail::gram(of_student.transpose(1, 2));
        const at::Tensor moments_t = detail::gram(of_teacher.transpose(1, 2));
        const at::Tensor difference =
            moments_s / static_cast<double>(count_s) - moments_t / static_cast<double>(count_t);
        return detail::reduce(difference.square().sum({1, 2}), options.reduction);
    }
    const auto kernel = [](const at::Tensor& one, const at::Tensor& other) {
        const at::Tensor products =
            one.is_same(other) ? detail::gram(one) : at::bmm(one, other.transpose(1, 2));
        return products.square().mean({1, 2});
    };
    return detail::reduce(
        kernel(of_teacher, of_teacher) + kernel(of_student, of_student) - 2 * kernel(of_student, of_teacher),
        options.reduction);
}

}  // namespace functional

/// Neuron selectivity transfer on one layer; several layers are a `Sum`.
///
/// Formula: \f$ \mathrm{mean}_{b} ( \mathrm{mean}_{c,c'} k(t_c, t_{c'}) + \mathrm{mean}_{c,c'} k(s_c, s_{c'})
/// - 2 \, \mathrm{mean}_{c,c'} k(s_c, t_{c'}) ), \; k(x, y) = (x \cdot y)^2 \f$ on the maps of the channels,
/// each divided by its norm; a channel that is zero everywhere contributes zeros and has no gradient.
/// Never negative except for rounding; 0 at equality.
/// Shapes: [batch, channels, ...]; the numbers of channels may differ, and so may the map sizes: the larger map is
/// average-pooled to the size of the smaller.
/// Gradient: to the student's feature. Memory: batch x the smaller of channels^2 and positions^2, not batch x
/// channels x channels x positions.
/// Reductions: elements are the samples. Published benchmarks use weight 50 (released code; the paper's is
/// unknown).
/// Source: Huang, Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017,
/// polynomial kernel with d = 2, c = 0.
template <class StudentTap, class TeacherTap>
class NeuronSelectivity
    : public detail::FeatureTerm<
          StudentTap, TeacherTap,
          detail::ConnectedLoss<&functional::neuron_selectivity, NeuronSelectivityOptions, Identity>> {
  public:
    explicit NeuronSelectivity(StudentTap student, TeacherTap teacher, NeuronSelectivityOptions options = {})
        : NeuronSelectivity::FeatureTerm("neuron_selectivity", std::move(student), std::move(teacher),
                                         {Identity{}, options}) {}
};

}  // namespace retort
