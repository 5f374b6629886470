// SPDX-License-Identifier: BSL-1.0
/// \file
/// The logarithm of a sum of powers, on features made comparable by a projector and batch norms.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <limits>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/known_gradient.hpp>
#include <retort/knowledge/detail/learnable.hpp>

namespace retort {

/// Options of `LogSum` and `functional::log_sum`. The defaults are the released code's (torchdistill).
struct LogSumOptions {
    double exponent = 4;    ///< above 0
    double scale = 2;       ///< multiplies the loss
    double epsilon = 1e-4;  ///< of the batch norms; unused by the function

    void check() const {
        detail::check_range("LogSum", "an exponent", exponent, detail::above(0));
        detail::check_finite("LogSum", "scale", scale);
        detail::check_range("LogSum", "an epsilon", epsilon, detail::above(0));
    }
};

namespace functional {

/// See `LogSum`.
/// Shapes: both [batch, ...], equal.
inline at::Tensor log_sum(const at::Tensor& student, const at::Tensor& teacher,
                          const LogSumOptions& options = {}) {
    options.check();
    const detail::TensorPair both = detail::equal_features("log_sum", student, teacher);
    const at::Tensor goal = detail::at_least_float32(detail::constant(both.teacher));
    const at::Tensor own = detail::at_least_float32(both.student);
    const double smallest = own.scalar_type() == at::kDouble
                                ? std::numeric_limits<double>::min()
                                : static_cast<double>(std::numeric_limits<float>::min());
    const auto composed = [goal, smallest, options](const at::Tensor& values) {
        const at::Tensor distance = (values - goal).abs();
        const at::Tensor sum = (options.exponent == 1 ? distance : distance.pow(options.exponent)).sum();
        return options.scale * sum.clamp_min(smallest).log();
    };
    if (options.exponent < 2) return composed(own);
    return detail::with_known_gradient(
        own,
        [&](bool with_gradient) {
            const at::Tensor difference = own - goal;
            // |d|^(p - 1) with the sign of d.
            at::Tensor power = options.exponent == 2 ? difference.clone()
                               : options.exponent == 4
                                   ? difference.square().mul_(difference)
                                   : difference.abs().pow_(options.exponent - 2).mul_(difference);
            const at::Tensor sum = (power * difference).sum();
            const at::Tensor counted = sum.clamp_min(smallest);
            detail::ValueAndGradient result{counted.log().mul_(options.scale), {}};
            if (with_gradient) {
                // Where the sum is clamped to the smallest number, there is no gradient.
                result.gradient = power.mul_(counted.reciprocal().masked_fill_(sum < smallest, 0));
                result.scale = options.scale * options.exponent;
            }
            return result;
        },
        composed);
}

}  // namespace functional

namespace detail {

class LogSumModuleImpl : public torch::nn::Module {
  public:
    LogSumModuleImpl(std::int64_t in, std::int64_t out, double epsilon)
        : torch::nn::Module("LogSum"),
          projector_(register_module("projector", torch::nn::Linear(in, out))),
          student_norm_(register_module("student_norm", norm(out, epsilon))),
          teacher_norm_(register_module("teacher_norm", norm(out, epsilon))) {}
    at::Tensor student(const at::Tensor& feature) {
        const at::Tensor values = pooled(feature, projector_->options.in_features());
        return student_norm_->forward(projector_->forward(values));
    }
    at::Tensor teacher(const at::Tensor& feature) {
        return teacher_norm_->forward(pooled(feature, projector_->options.out_features()));
    }

  private:
    static at::Tensor pooled(const at::Tensor& feature, std::int64_t size) {
        if (feature.dim() < 2 || feature.size(1) != size) {
            throw ShapeError(concat("LogSum: expected a feature of shape [batch, ", size, ", ...], found ",
                                    shape_text(feature)));
        }
        return feature.dim() == 2 ? feature : feature.flatten(2).mean(2);
    }
    static torch::nn::BatchNorm1d norm(std::int64_t size, double epsilon) {
        return torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(size).eps(epsilon).affine(false));
    }
    torch::nn::Linear projector_;
    torch::nn::BatchNorm1d student_norm_, teacher_norm_;
};
TORCH_MODULE(LogSumModule);

struct LogSumParts {
    LogSumOptions options;

    static bool sized() { return false; }
    LogSumModule build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        return LogSumModule(channels("LogSum", student), channels("LogSum", teacher), options.epsilon);
    }
    at::Tensor loss(LogSumModuleImpl& module, const at::Tensor& student, const at::Tensor& teacher) const {
        check_features("LogSum", student, teacher, 2, "[batch, channels, ...]");
        return functional::log_sum(module.student(student),
                                   module.teacher(in_type_of(module, constant(teacher))), options);
    }
    void check() const { options.check(); }
};

}  // namespace detail

/// The simple recipe for distillation (SRD): a linear projector, batch norms without weights on both sides,
/// and the logarithm of the sum of powers.
///
///     retort::Knowledge{retort::CrossEntropy{},
///                       retort::LogSum{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>},
///                       retort::SoftTarget{.temperature = 1.0}}
///
/// Formula: \f$ 2 \log \sum_{b,d} | \hat f_s - \hat f_t |^p \f$, \f$ \hat f_s = \mathrm{BN}(W \bar f_s + b)
/// \f$, \f$ \hat f_t = \mathrm{BN}(\bar f_t) \f$, \f$ \bar f \f$ the mean over the positions. The released
/// loss adds `SoftTarget` without the factor \f$ T^2 \f$ (`t_squared = false`).
/// Shapes: [batch, channels, ...].
/// Gradient: to the student's feature and the projector.
/// Reduction: none, the logarithm is of the sum over the whole batch, so that the value grows with the batch size. It
/// is negative for good students. The sum is clamped to the smallest normal number: at equality the value is finite
/// (released code gives minus infinity) and the gradient 0. A batch of one sample cannot be normalized: its features
/// become zeros.
/// Learnable: the projector; the running statistics of the two batch norms are buffers of `module()`.
/// Source: Miles, Mikolajczyk, "Understanding the Role of the Projector in Knowledge Distillation", AAAI
/// 2024.
template <class StudentTap, class TeacherTap>
class LogSum : public detail::FeatureTerm<StudentTap, TeacherTap, detail::LogSumParts> {
  public:
    explicit LogSum(StudentTap student, TeacherTap teacher, LogSumOptions options = {})
        : LogSum::FeatureTerm("log_sum", std::move(student), std::move(teacher), {options}) {}
};

}  // namespace retort
