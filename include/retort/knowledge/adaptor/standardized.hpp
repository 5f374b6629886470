// SPDX-License-Identifier: BSL-1.0
/// \file
/// Logit standardization, for any term on logits.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/std_mean.h>

#include <cstdint>
#include <string>
#include <tuple>

#include <retort/detail/tensor.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/logits_adaptor.hpp>

namespace retort {

namespace functional {

/// Logits with mean 0 and standard deviation 1 over the classes of each sample.
///
/// Formula: \f$ (z - \mathrm{mean}(z)) / (\epsilon + \mathrm{std}(z)) \f$ with the unbiased standard
/// deviation.
/// Shapes: [batch, classes], at least 2 classes.
/// Gradient: through mean and deviation too.
/// Hazards: a sample with equal logits has deviation 0, and a gradient of the order of 1 / epsilon.
/// \throws ConfigError if epsilon is not above 0; ShapeError if these are not logits of at least 2 classes.
inline at::Tensor standardize(const at::Tensor& logits, double epsilon = 1e-7) {
    detail::check_range("standardize", "an epsilon", epsilon, detail::above(0));
    detail::check_logits("standardize", "logits", logits);
    detail::check_two_classes("standardize", logits);
    const at::Tensor scores = detail::at_least_float32(logits);
    const std::int64_t classes = 1;
    const auto [deviation, mean] =
        at::std_mean(scores, at::OptionalIntArrayRef(classes), /*unbiased=*/true, /*keepdim=*/true);
    return (scores - mean) / (deviation + epsilon);
}

}  // namespace functional

/// A term on logits, with the logits of both sides standardized first: the student need not match the size of
/// the teacher's logits, only their pattern.
///
///     retort::Standardized{retort::SoftTarget{.temperature = 2.0}}
///     retort::Standardized{retort::DecoupledKd::standardized()}
///
/// Formula: the term's, on \f$ (z - \mathrm{mean}(z)) / (\epsilon + \mathrm{std}(z)) \f$ over the classes of
/// each sample (`functional::standardize`).
/// Hazards: with 2 classes only the sign is left. Apply cross-entropy with the targets to the raw logits.
/// Source: Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024; temperature
/// 2 and weight 9, with cross-entropy at weight 0.1, are the released defaults.
template <SaysWhatItNeeds Term>
struct Standardized : detail::LogitsAdaptor<Standardized<Term>, Term> {
    double epsilon = 1e-7;  ///< above 0

    void check() const {
        detail::check_range("Standardized", "an epsilon", epsilon, detail::above(0));
        TermAdaptor<Term>::check();
    }
    std::string name() const { return "standardized_" + TermAdaptor<Term>::name(); }

    at::Tensor changed(const at::Tensor& scores) const { return functional::standardize(scores, epsilon); }
};

template <class Term>
Standardized(Term) -> Standardized<Term>;
template <class Term>
Standardized(Term, double) -> Standardized<Term>;

}  // namespace retort
