// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term on some of the classes.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/detail/logits_adaptor.hpp>

namespace retort {

/// A term on logits that sees only some of the classes, as if there were no others: a class mask without logits of
/// minus infinity.
///
///     retort::OnClasses{retort::SoftTarget{}, torch::tensor({0, 3, 7})}
///
/// Formula: the term's, on the columns `classes` of both sides' logits. For terms without targets.
template <SaysWhatItNeeds Term>
struct OnClasses : detail::LogitsAdaptor<OnClasses<Term>, Term> {
    static_assert(!Term::needs_target,
                  "retort: OnClasses is for terms without targets: it would shift their class indices");

    at::Tensor classes;  ///< class indices of type Long, on the device of the logits

    void check() const {
        if (!classes.defined() || classes.dim() != 1 || classes.numel() == 0 ||
            classes.scalar_type() != at::kLong) {
            throw ConfigError(
                detail::concat("OnClasses: expected classes as indices of type Long and shape [number], at "
                               "least one; found ",
                               detail::shape_text(classes)));
        }
        TermAdaptor<Term>::check();
    }
    std::string name() const { return TermAdaptor<Term>::name() + "_on_classes"; }

    at::Tensor changed(const at::Tensor& scores) const {
        detail::check_logits("OnClasses", "logits", scores);
        detail::check_same_device("OnClasses", "logits", scores, "classes", classes);
        return scores.index_select(1, classes);
    }
};

template <class Term>
OnClasses(Term, at::Tensor) -> OnClasses<Term>;

}  // namespace retort
