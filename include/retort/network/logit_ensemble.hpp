// SPDX-License-Identifier: BSL-1.0
/// \file
/// The logits of an ensemble of students.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/network/detail/stacked_branches.hpp>

namespace retort {

/// Options of `LogitEnsemble`.
struct LogitEnsembleOptions {
    bool learnable =
        false;  ///< whether the weights are trained; otherwise they are equal, as in the released code
};

/// The weighted mean of students' logits.
///
/// Formula: \f$ \sum_j w_j z_j \f$, w = 1 / N; learnable \f$ w = \sigma(a) \f$ with one parameter a per student,
/// initially 0.
/// Shapes: a list of [batch, classes]; [batch, classes].
/// Gradient: to the weights if they are trained. The students' logits are constants: in no source are they trained
/// through the ensemble's logits. Trained weights need a term on the ensemble:
/// `CompressedStudentsOptions::ensemble_weight`.
/// Source: see `compressed_students`. The released code declares weights and never trains them; the softmax is this
/// library's.
struct LogitEnsembleImpl : torch::nn::Cloneable<LogitEnsembleImpl> {
    explicit LogitEnsembleImpl(std::int64_t students, LogitEnsembleOptions options = {})
        : students_(students), options_(options) {
        if (students < 1) {
            throw ConfigError(
                detail::concat("LogitEnsemble: expected at least one student, found ", students));
        }
        reset();
    }
    void reset() override {
        if (options_.learnable) weights = register_parameter("weights", at::zeros({students_}));
    }
    /// \throws ShapeError if their number is different, or they do not match
    at::Tensor forward(const std::vector<at::Tensor>& answers) {
        std::vector<at::Tensor> constants;
        constants.reserve(answers.size());
        for (const at::Tensor& each : answers) {
            detail::check_defined("LogitEnsemble", "the logits of a student", each);
            constants.push_back(detail::constant(each));
        }
        const at::Tensor all =
            detail::stacked_branches("LogitEnsemble", constants, static_cast<std::size_t>(students_));
        if (!options_.learnable) return all.mean(1);
        return (all * at::softmax(weights, 0).view({1, students_, 1})).sum(1);
    }
    at::Tensor weights{};  ///< a; undefined if not trained

  private:
    std::int64_t students_;
    LogitEnsembleOptions options_;
};
TORCH_MODULE(LogitEnsemble);

}  // namespace retort
