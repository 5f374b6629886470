// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a node says of a probe that it is asked about.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include <retort/community/calibration.hpp>

namespace retort::community {

/// The answer of a node to a query: which of its tasks the probe fits best, how well, and what it says of the probe.
struct Offer {
    std::string teacher{};
    std::int64_t task = -1;              ///< its number there; -1: it has none
    std::vector<std::string> classes{};  ///< the class space of the task
    std::vector<std::int64_t> covers{};  ///< which of them it has seen samples of, by position
    std::string model{};                 ///< hash of the network that the labels would come from
    Verdict verdict{};
    std::string reason{};  ///< why a node that declines does so
    at::Tensor logits{};   ///< [rows of the probe, classes]: the lesson must agree with it

    /// The best first, whatever order the answers came in.
    bool operator<(const Offer& other) const {
        const auto key = [](const Offer& offer) {
            return std::tie(offer.verdict.strangeness, offer.verdict.outside, offer.teacher, offer.task);
        };
        return key(*this) < key(other);
    }
};

}  // namespace retort::community
