// SPDX-License-Identifier: BSL-1.0
/// \file
/// Variational information distillation: makes the teacher's feature predictable from the student's.
#pragma once

#include <ATen/ops/full.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softplus.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/pimpl.h>

#include <cmath>
#include <utility>
#include <vector>

#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/reduce.hpp>

namespace retort {

/// Options of `VariationalInformation` and `functional::variational_information`. The defaults are those of
/// the released code (RepDistiller), with the weight 1.
struct VariationalInformationOptions {
    std::int64_t hidden = 0;                ///< hidden channels of the regressor; 0: as many as the teacher's
    double initial_variance = 5;            ///< above `epsilon`
    double epsilon = 1e-5;                  ///< added to the variances; above 0
    Reduction reduction = Reduction::mean;  ///< elements are those of the teacher's feature

    void check() const {
        detail::check_range("VariationalInformation", "hidden", hidden, detail::at_least(0));
        detail::check_range("VariationalInformation", "an epsilon", epsilon, detail::above(0));
        detail::check_range("VariationalInformation", "an initial_variance", initial_variance,
                            detail::above(epsilon));
    }
};

namespace functional {

/// Negative log-likelihood of the teacher's feature under a Gaussian; see `VariationalInformation`.
/// \param mean [batch, channels, ...], predicted from the student's feature
/// \param log_scale [channels]: the variances are softplus(log_scale) + epsilon
inline at::Tensor variational_information(const at::Tensor& mean, const at::Tensor& teacher,
                                          const at::Tensor& log_scale,
                                          const VariationalInformationOptions& options = {}) {
    options.check();
    detail::check_alike("variational_information", "the predicted mean", mean, "the teacher's feature",
                        teacher);
    detail::check_feature("variational_information", "the teacher's feature", teacher, 2,
                          "[batch, channels, ...]");
    const detail::TensorPair both = detail::in_one_type(mean, teacher);
    if (log_scale.dim() != 1 || log_scale.size(0) != both.teacher.size(1)) {
        throw ShapeError(detail::concat("variational_information: expected a variance for each of ",
                                        both.teacher.size(1), " channels, found ",
                                        detail::shape_text(log_scale)));
    }
    std::vector<std::int64_t> per_channel(static_cast<std::size_t>(both.teacher.dim()), 1);
    per_channel[1] = both.teacher.size(1);
    const at::Tensor variance =
        (at::softplus(detail::at_least_float32(log_scale)) + options.epsilon).reshape(per_channel);
    const at::Tensor difference =
        detail::at_least_float32(both.student) - detail::at_least_float32(detail::constant(both.teacher));
    if (options.reduction == Reduction::mean) {  // the mean of the logarithms is that over the channels
        return (difference.square() * (0.5 / variance)).mean() + 0.5 * variance.log().mean();
    }
    return detail::reduce(0.5 * (difference.square() / variance + variance.log()), options.reduction);
}

}  // namespace functional

/// The regressor of `VariationalInformation` and its variances.
class VariationalRegressorImpl : public torch::nn::Module {
  public:
    VariationalRegressorImpl(std::int64_t in, std::int64_t hidden, std::int64_t out, double initial_variance,
                             double epsilon)
        : torch::nn::Module("VariationalRegressor"),
          first_(register_module("first", convolution(in, hidden))),
          second_(register_module("second", convolution(hidden, hidden))),
          third_(register_module("third", convolution(hidden, out))) {
        const double above = initial_variance - epsilon;
        // The inverse of the softplus, without overflow.
        const double start = above > 30 ? above : std::log(std::expm1(above));
        log_scale_ = register_parameter("log_scale", at::full({out}, start));
    }
    /// The predicted mean.
    /// \throws ShapeError if the feature is not [batch, in, height, width]
    at::Tensor forward(const at::Tensor& feature) {
        detail::check_map("VariationalInformation", feature, first_->options.in_channels());
        return third_->forward(at::relu(second_->forward(at::relu(first_->forward(feature)))));
    }
    const at::Tensor& log_scale() const { return log_scale_; }

  private:
    static torch::nn::Conv2d convolution(std::int64_t in, std::int64_t out) {
        return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 1).bias(false));
    }
    torch::nn::Conv2d first_, second_, third_;
    at::Tensor log_scale_;
};
/// Holder of `VariationalRegressorImpl`.
TORCH_MODULE(VariationalRegressor);

namespace detail {

struct VariationalParts {
    VariationalInformationOptions options;

    static bool sized() { return false; }
    VariationalRegressor build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        const std::int64_t out = channels("VariationalInformation", teacher);
        return VariationalRegressor(channels("VariationalInformation", student),
                                    options.hidden > 0 ? options.hidden : out, out, options.initial_variance,
                                    options.epsilon);
    }
    at::Tensor loss(VariationalRegressorImpl& module, const at::Tensor& student,
                    const at::Tensor& teacher) const {
        check_features("VariationalInformation", student, teacher, 4, "[batch, channels, height, width]");
        const auto [from, goal] = pool_larger("VariationalInformation", student, constant(teacher));
        return functional::variational_information(module.forward(from), goal, module.log_scale(), options);
    }
    void check() const { options.check(); }
};

}  // namespace detail

/// Variational information distillation on one layer; several layers are a `Sum`.
///
/// Formula: \f$ \tfrac12 \, \mathrm{mean} ( (\mu(F_s) - F_t)^2 / v_c + \log v_c ), \; v_c =
/// \mathrm{softplus}(a_c) + \epsilon \f$, with one variance per channel of the teacher and the regressor \f$
/// \mu \f$ of three 1x1 convolutions without bias, ReLU between them. The constant \f$ \tfrac12 \log 2 \pi
/// \f$ is omitted, so the loss can be negative.
/// Shapes: [batch, channels, height, width]; the larger map is average-pooled to the size of the smaller, before the
/// regressor.
/// Gradient: to the student's feature, the regressor and the variances.
/// Learnable: regressor and variances, built from the first batch. Both are parameters of `module()`: variances
/// unknown to the optimizer silently keep their initial values.
/// Source: Ahn, Hu, Damianou, Lawrence, Dai, "Variational Information Distillation for Knowledge Transfer",
/// CVPR 2019.
template <class StudentTap, class TeacherTap>
class VariationalInformation : public detail::FeatureTerm<StudentTap, TeacherTap, detail::VariationalParts> {
  public:
    explicit VariationalInformation(StudentTap student, TeacherTap teacher,
                                    VariationalInformationOptions options = {})
        : VariationalInformation::FeatureTerm("variational_information", std::move(student),
                                              std::move(teacher), {options}) {}
};

}  // namespace retort
