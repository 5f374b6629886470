// SPDX-License-Identifier: BSL-1.0
/// \file
/// Masked generative distillation: predicts the teacher's feature from a masked part of the student's.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/relu.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/pimpl.h>

#include <memory>
#include <utility>

#include <retort/core/reduction.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/feature/hint.hpp>

namespace retort {

/// Options of `MaskedGenerative`.
struct MaskedGenerativeOptions {
    /// What the mask removes.
    enum class Mask { positions, channels };

    Mask mask = Mask::positions;
    double fraction = 0.65;                      ///< the fraction of it that is removed, in [0, 1)
    Reduction reduction = Reduction::batchmean;  ///< elements are those of the teacher's feature

    /// Weight 2e-5.
    static MaskedGenerativeOptions detection() { return {}; }
    /// Weight 7e-5.
    static MaskedGenerativeOptions classification() { return {.mask = Mask::channels, .fraction = 0.15}; }
    void check() const {
        detail::check_range("MaskedGenerative", "a fraction", fraction, detail::in_half_open(0, 1));
    }
};

namespace functional {

/// The feature with a random subset of its positions (the same in all channels) or channels set to zero, each
/// independently with probability `fraction`. Random numbers come from the generator of the feature's device.
/// Shapes: [batch, channels, height, width].
inline at::Tensor masked(const at::Tensor& feature, const MaskedGenerativeOptions& options = {}) {
    options.check();
    detail::check_feature("masked", "the feature", feature, 4, "[batch, channels, height, width]");
    const bool positions = options.mask == MaskedGenerativeOptions::Mask::positions;
    const at::Tensor chance =
        positions ? at::rand({feature.size(0), 1, feature.size(2), feature.size(3)},
                             feature.options().dtype(at::kFloat))
                  : at::rand({feature.size(0), feature.size(1), 1, 1}, feature.options().dtype(at::kFloat));
    return feature * (chance >= options.fraction).to(feature.scalar_type());
}

}  // namespace functional

namespace detail {

/// Connector and generator.
template <class Holder>
class GenerativeModule : public torch::nn::Module {
  public:
    GenerativeModule(Holder connector, std::int64_t channels)
        : torch::nn::Module("MaskedGenerative"),
          connector_(register_module("connector", std::move(connector))),
          first_(register_module("first", convolution(channels))),
          second_(register_module("second", convolution(channels))) {}
    at::Tensor connect(const at::Tensor& feature) { return connector_->forward(feature); }
    at::Tensor generate(const at::Tensor& feature) {
        check_map("MaskedGenerative", feature, first_->options.in_channels());
        return second_->forward(at::relu(first_->forward(feature)));
    }

  private:
    static torch::nn::Conv2d convolution(std::int64_t channels) {
        return torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, channels, 3).padding(1));
    }
    Holder connector_;
    torch::nn::Conv2d first_, second_;
};

template <Connector C>
struct GenerativeParts {
    C connector;
    MaskedGenerativeOptions options;

    static bool sized() { return false; }
    auto build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        using Module = GenerativeModule<decltype(connector.build(student, teacher))>;
        return torch::nn::ModuleHolder<Module>(std::make_shared<Module>(
            connector.build(student, teacher), channels("MaskedGenerative", teacher)));
    }
    template <class Module>
    at::Tensor loss(Module& module, const at::Tensor& student, const at::Tensor& teacher) const {
        const at::Tensor part = functional::masked(module.connect(student), options);
        return functional::hint(module.generate(part), teacher, {.reduction = options.reduction});
    }
    void check() const { options.check(); }
};

}  // namespace detail

/// Masked generative distillation on one layer.
///
/// Formula: \f$ \frac{1}{B} \sum (G(M \cdot r(F_s)) - F_t)^2 \f$ with the connector r, a random mask M and
/// the generator G: a 3x3 convolution, ReLU and a 3x3 convolution. Never negative.
/// Shapes: [batch, channels, height, width], of equal size after the connector.
/// Gradient: to the student's feature, connector and generator.
/// Reductions: those of `Hint`; `batchmean` is the default. The mask is redrawn at every call, from the run's seeded
/// generator.
/// Learnable: connector (by default a 1x1 convolution; `Identity` if the channels are equal) and generator.
/// Source: Yang, Li, Shao, Shi, Yuan, Yuan, "Masked Generative Distillation", ECCV 2022.
template <class StudentTap, class TeacherTap, Connector C = Conv1x1>
class MaskedGenerative : public detail::FeatureTerm<StudentTap, TeacherTap, detail::GenerativeParts<C>> {
  public:
    explicit MaskedGenerative(StudentTap student, TeacherTap teacher, C connector = {},
                              MaskedGenerativeOptions options = {})
        : MaskedGenerative::FeatureTerm("masked_generative", std::move(student), std::move(teacher),
                                        {std::move(connector), options}) {}
};

}  // namespace retort
