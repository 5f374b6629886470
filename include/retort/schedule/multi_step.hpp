// SPDX-License-Identifier: BSL-1.0
/// \file
/// A weight that changes at given epochs.
#pragma once

#include <algorithm>
#include <vector>

#include <retort/schedule/concept.hpp>

namespace retort {

/// \f$ w = \text{initial} \cdot \text{factor}^{n} \f$, where n is the number of milestones that are not after
/// the epoch. The learning rate of the CIFAR-100 protocol is `MultiStep{.milestones = {150, 180, 210}}`.
struct MultiStep {
    double initial = 1.0;
    std::vector<std::int64_t> milestones{};  ///< epochs, ascending
    double factor = 0.1;

    double weight(const Progress& progress) const {
        const auto passed =
            std::upper_bound(milestones.begin(), milestones.end(), progress.epoch) - milestones.begin();
        return initial * std::pow(factor, static_cast<double>(passed));
    }
    void check() const {
        detail::check_finite("MultiStep", "initial value", initial);
        detail::check_finite("MultiStep", "factor", factor);
        if (!std::is_sorted(milestones.begin(), milestones.end())) {
            throw ConfigError(
                "MultiStep: expected ascending milestones, found a milestone before its predecessor");
        }
    }
};

}  // namespace retort
