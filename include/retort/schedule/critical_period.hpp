// SPDX-License-Identifier: BSL-1.0
/// \file
/// The weight of intermediate layers in information flow modeling: large while the critical connections form.
#pragma once

#include <retort/schedule/exponential.hpp>

namespace retort {

/// \f$ w = \text{initial} \cdot \text{factor}^{k} \f$ in epoch k = 0, 1, ... With the defaults the weight
/// stays above 1 for the first 13 epochs, in which intermediate layers dominate, and is 0.08 at epoch 20.
///
/// Source: Passalis, Tzelepi, Tefas, "Heterogeneous Knowledge Distillation using Information Flow Modeling",
/// CVPR 2020, Eq. 10. It weights every layer except the last, whose weight is 1. The defaults are those of the
/// released code.
struct CriticalPeriod {
    double initial = 100.0;
    double factor = 0.7;  ///< in (0, 1)

    double weight(const Progress& progress) const {
        return Exponential{.initial = initial, .factor = factor}.weight(progress);
    }
    void check() const {
        detail::check_finite("CriticalPeriod", "initial value", initial);
        detail::check_range("CriticalPeriod", "a factor", factor, detail::in_open(0, 1));
    }
};

}  // namespace retort
