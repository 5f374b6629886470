// SPDX-License-Identifier: BSL-1.0
/// \file
/// A closed gate.
#pragma once

#include <retort/cohort/gate/concept.hpp>

namespace retort::gate {

/// Nothing passes: the edge is not computed. A learner whose incoming edges are all cut off does not learn: it is a
/// frozen teacher.
struct Cutoff {
    static constexpr bool per_sample = false;

    static double weight(std::int64_t, const Progress&) { return 0.0; }
    static std::string name() { return "cutoff"; }
};

}  // namespace retort::gate
