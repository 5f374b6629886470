// SPDX-License-Identifier: BSL-1.0
/// \file
/// Random numbers that only depend on their purpose and key.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>

#include <cstdint>
#include <initializer_list>

#include <retort/core/batch.hpp>
#include <retort/detail/split_mix.hpp>

namespace retort::data::detail {

/// The purpose of random numbers; each purpose has an independent stream for the same seed.
enum class Stream : std::uint64_t { order = 1, batch = 2, second_of_batch = 3, split = 4 };

/// A CPU generator whose numbers are a pure function of `key` (such as seed, epoch and batch) and the purpose.
inline at::Generator make_generator(std::initializer_list<std::uint64_t> key, Stream stream) {
    using ::retort::detail::split_mix;
    auto state = split_mix(static_cast<std::uint64_t>(stream));
    for (const auto part : key) state = split_mix(state ^ split_mix(part));
    return at::detail::createCPUGenerator(state);
}

/// One uniform number from [0, 1) per sample, drawn on the CPU, so that results do not depend on the device.
inline at::Tensor uniform(std::int64_t count, at::Generator& generator, const at::Device& device) {
    return ::retort::to_device(at::rand({count}, generator, at::TensorOptions(at::kFloat)), device);
}

/// One integer in [0, end) per sample, likewise.
inline at::Tensor integers(std::int64_t end, std::int64_t count, at::Generator& generator,
                           const at::Device& device) {
    return ::retort::to_device(at::randint(end, {count}, generator, at::TensorOptions(at::kLong)), device);
}

}  // namespace retort::data::detail
