// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teacher choice: all nodes vote.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <retort/community/average.hpp>
#include <retort/community/offer.hpp>

namespace retort::community {

/// One vote for its most probable class from each node that knows the data and has the class space of the best of them. The
/// labels are the shares of the votes, with `smoothing` of a vote for each class, so that their logarithms are finite.
struct Majority {
    static constexpr bool one = false;
    double smoothing = 0.01;

    std::vector<std::size_t> order(const std::vector<Offer>& offers, std::uint64_t seed) const {
        return Average{}.order(offers, seed);
    }
    at::Tensor combine(const std::vector<at::Tensor>& logits) const {
        at::Tensor votes = at::zeros_like(logits.front()).add_(smoothing);
        for (const at::Tensor& each : logits)
            votes.scatter_add_(1, each.argmax(1, true), at::ones_like(each.narrow(1, 0, 1)));
        return at::log(votes / votes.sum({1}, true));
    }
    static std::string name() { return "majority"; }
};

}  // namespace retort::community
