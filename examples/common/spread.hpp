// SPDX-License-Identifier: BSL-1.0
/// \file
/// Statistics over several runs.
#pragma once

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

namespace examples {

/// Mean and standard deviation of some numbers; the deviation is NaN for fewer than two.
struct Spread {
    double mean = std::numeric_limits<double>::quiet_NaN();
    double deviation = std::numeric_limits<double>::quiet_NaN();

    explicit Spread(const std::vector<double>& values) {
        const auto count = static_cast<double>(values.size());
        if (values.empty()) return;
        mean = 0;
        for (const double value : values) mean += value / count;
        if (values.size() < 2) return;
        double squares = 0;
        for (const double value : values) squares += (value - mean) * (value - mean);
        deviation = std::sqrt(squares / (count - 1));
    }
};

/// `71.71 +- 1.12`; without the deviation for a single number.
inline std::string with_deviation(const std::vector<double>& values) {
    const Spread spread(values);
    char text[64];
    if (std::isnan(spread.deviation)) {
        std::snprintf(text, sizeof text, "%.2f", spread.mean);
    } else {
        std::snprintf(text, sizeof text, "%.2f +- %.2f", spread.mean, spread.deviation);
    }
    return text;
}

}  // namespace examples
