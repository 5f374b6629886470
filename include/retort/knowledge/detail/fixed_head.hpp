// SPDX-License-Identifier: BSL-1.0
/// \file
/// A part of the teacher applied to the student's features.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <torch/nn/modules/linear.h>

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/learnable.hpp>

namespace retort::detail {

/// The teacher's classifier: gradients pass through it but not into its parameters.
/// \tparam Head `torch::nn::Linear`; or another network or callable, on pooled features
template <class Head>
class FixedHead {
  public:
    FixedHead(const char* where, Head head) : head_(std::move(head)) {
        if constexpr (ModuleHolder<Head>) {
            if (head_.is_empty())
                throw ConfigError(
                    concat(where, ": expected the teacher's classifier, found an empty holder"));
            if constexpr (!std::same_as<Head, torch::nn::Linear>) {
                for (const at::Tensor& parameter : head_.ptr()->parameters()) {
                    if (parameter.requires_grad())
                        throw ConfigError(concat(
                            where,
                            ": expected a classifier whose parameters do not require gradients (it is the "
                            "teacher's), found one that does: call set_requires_grad(false) on them"));
                }
            }
        }
    }
    /// \param feature [batch, size]
    at::Tensor operator()(const at::Tensor& feature) const {
        if constexpr (std::same_as<Head, torch::nn::Linear>) {
            const at::Tensor weight = constant(head_->weight);
            if (feature.dim() != 2 || feature.size(1) != weight.size(1)) {
                throw ShapeError(concat("the teacher's classifier: expected features of shape [batch, ",
                                        weight.size(1), "], found ", shape_text(feature)));
            }
            return at::linear(in_type(feature, weight.scalar_type()), weight,
                              head_->bias.defined() ? constant(head_->bias) : at::Tensor());
        } else if constexpr (ModuleHolder<Head>) {
            return head_.ptr()->forward(in_type_of(*head_, feature));
        } else {
            return head_(feature);
        }
    }

  private:
    Head head_;
};

}  // namespace retort::detail
