// SPDX-License-Identifier: BSL-1.0
/// \file
/// A small multi-layer perceptron between feature vectors.
#pragma once

#include <ATen/ops/relu.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <algorithm>

#include <retort/knowledge/connector/concept.hpp>

namespace retort {

/// Two linear maps with ReLU between them, and optional batch norm before the ReLU.
class MlpConnectorImpl : public torch::nn::Module {
  public:
    MlpConnectorImpl(std::int64_t in, std::int64_t hidden, std::int64_t out, bool batch_norm)
        : torch::nn::Module("MlpConnector"),
          first_(register_module("first", torch::nn::Linear(in, hidden))),
          second_(register_module("second", torch::nn::Linear(hidden, out))) {
        if (batch_norm) norm_ = register_module("norm", torch::nn::BatchNorm1d(hidden));
    }
    /// \throws ShapeError if the feature is not [batch, ..., in], or with batch norm not [batch, in]
    at::Tensor forward(const at::Tensor& feature) {
        const std::int64_t in = first_->options.in_features();
        if (feature.dim() < 2 || feature.size(-1) != in || (!norm_.is_empty() && feature.dim() != 2)) {
            throw ShapeError(detail::concat("Mlp: expected a feature of shape [batch, ",
                                            norm_.is_empty() ? "..., " : "", in, "], found ",
                                            detail::shape_text(feature)));
        }
        at::Tensor hidden = first_->forward(feature);
        if (!norm_.is_empty()) hidden = norm_->forward(hidden);
        return second_->forward(at::relu(hidden));
    }

  private:
    torch::nn::Linear first_;
    torch::nn::BatchNorm1d norm_{nullptr};
    torch::nn::Linear second_;
};
/// Holder of `MlpConnectorImpl`.
TORCH_MODULE(MlpConnector);

/// \f$ r(f) = W_2 \, \mathrm{ReLU}(W_1 f + b_1) + b_2 \f$ on the last dimension.
/// Shapes: [batch, ..., in] to [batch, ..., out]; with batch norm [batch, in] to [batch, out]. A size of 0 is
/// taken from the first batch; `hidden` is then the larger of the two.
struct Mlp {
    std::int64_t in = 0;
    std::int64_t hidden = 0;
    std::int64_t out = 0;
    bool batch_norm = false;

    bool sized() const { return in > 0 && out > 0; }
    MlpConnector build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        detail::check_range("Mlp", "in", in, detail::at_least(0));
        detail::check_range("Mlp", "hidden", hidden, detail::at_least(0));
        detail::check_range("Mlp", "out", out, detail::at_least(0));
        if ((in == 0 && student.size() < 2) || (out == 0 && teacher.size() < 2)) {
            throw ShapeError(detail::concat("Mlp: expected features of shape [batch, ..., size], found ",
                                            detail::shape_text(student), " and ",
                                            detail::shape_text(teacher)));
        }
        const std::int64_t from = in > 0 ? in : student.back();
        const std::int64_t to = out > 0 ? out : teacher.back();
        return MlpConnector(from, hidden > 0 ? hidden : std::max(from, to), to, batch_norm);
    }
    static std::string name() { return "Mlp"; }
};

}  // namespace retort
