// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teacher choice: all nodes, averaged.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <retort/community/offer.hpp>

namespace retort::community {

/// The mean of the probabilities of all nodes that know the data and have the class space of the best of them.
struct Average {
    static constexpr bool one = false;
    bool only_known = true;  ///< false: those that declined, too (a baseline)

    std::vector<std::size_t> order(const std::vector<Offer>& offers, std::uint64_t) const {
        std::vector<std::size_t> result;
        for (std::size_t i = 0; i < offers.size(); ++i) {
            if (offers[i].task < 0 || (only_known && !offers[i].verdict.known)) continue;
            if (result.empty() || offers[i].classes == offers[result.front()].classes) result.push_back(i);
        }
        return result;
    }
    /// \param logits of the teachers whose labels can be trusted, [samples, classes] each; at least one
    at::Tensor combine(const std::vector<at::Tensor>& logits) const {
        std::vector<at::Tensor> log_p;
        for (const at::Tensor& each : logits) log_p.push_back(at::log_softmax(each, 1));
        return at::logsumexp(at::stack(log_p), {0}) - std::log(static_cast<double>(logits.size()));
    }
    static std::string name() { return "average"; }
};

}  // namespace retort::community
