// SPDX-License-Identifier: BSL-1.0
/// \file
/// Splits a validation set from a training set, class by class.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randperm.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// How to split.
struct StratifiedSplitOptions {
    /// The part of each class that goes into the validation set, above 0 and below 1.
    double validation_fraction = 0.1;
    /// The choice of samples depends only on this.
    std::uint64_t seed = 0;
};

/// The two parts, and the numbers of their samples in the data set that was split (int64, CPU, ascending).
struct TrainValidation {
    Dataset train;
    Dataset validation;
    at::Tensor train_index;
    at::Tensor validation_index;
};

/// Splits a labeled data set so that each class is divided in the same proportion. Of a class of n samples,
/// `floor(validation_fraction * n + 1/2)` go into the validation set, but at least 1 and at most n - 1, so
/// that each class that occurs does so in both parts. Both keep the order of the data set; samples are copied.
/// \throws ConfigError if the fraction is not above 0 and below 1; DataError if there are no targets or a class has a
/// single sample.
inline TrainValidation stratified_split(const Dataset& dataset, StratifiedSplitOptions options = {}) {
    const c10::NoGradGuard no_grad;
    using ::retort::detail::concat;
    if (!(options.validation_fraction > 0.0 && options.validation_fraction < 1.0)) {
        throw ConfigError(
            concat("stratified_split: expected a validation_fraction above 0 and below 1, found ",
                   options.validation_fraction));
    }
    if (!dataset.labeled())
        throw DataError("stratified_split: expected a data set with targets, found one without");
    const auto targets = dataset.targets.to(at::kCPU).contiguous();
    const auto size = dataset.size();
    std::vector<std::vector<std::int64_t>> members(static_cast<std::size_t>(dataset.classes));
    for (std::int64_t i = 0; i < size; ++i) {
        members[static_cast<std::size_t>(targets.data_ptr<std::int64_t>()[i])].push_back(i);
    }
    std::vector<char> held_out(static_cast<std::size_t>(size), 0);
    for (std::size_t c = 0; c < members.size(); ++c) {
        const auto& ids = members[c];
        if (ids.empty()) continue;
        const auto count = static_cast<std::int64_t>(ids.size());
        if (count < 2) {
            throw DataError(
                concat("stratified_split: expected at least 2 samples of each class, one for each part, "
                       "found 1 of class ",
                       c, " (sample ", ids.front(), ")"));
        }
        const auto wanted =
            std::llround(std::floor(options.validation_fraction * static_cast<double>(count) + 0.5));
        const auto taken = std::clamp<std::int64_t>(wanted, 1, count - 1);
        auto generator = detail::make_generator({options.seed, c}, detail::Stream::split);
        const auto order = at::randperm(count, generator, at::TensorOptions(at::kLong));
        for (std::int64_t i = 0; i < taken; ++i) {
            const auto member = static_cast<std::size_t>(order.data_ptr<std::int64_t>()[i]);
            held_out[static_cast<std::size_t>(ids[member])] = 1;
        }
    }
    const auto ids_where = [&](char value) {
        const auto count = std::count(held_out.begin(), held_out.end(), value);
        auto ids = at::empty({static_cast<std::int64_t>(count)}, at::TensorOptions(at::kLong));
        auto* id = ids.data_ptr<std::int64_t>();
        for (std::int64_t i = 0; i < size; ++i) {
            if (held_out[static_cast<std::size_t>(i)] == value) *id++ = i;
        }
        return ids;
    };
    auto train = ids_where(0);
    auto validation = ids_where(1);
    return {subset(dataset, train), subset(dataset, validation), train, validation};
}

}  // namespace retort::data
