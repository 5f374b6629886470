// SPDX-License-Identifier: BSL-1.0
/// \file
/// Random numbers that follow from a seed alone.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>

namespace retort::community::detail {

/// While it lives, the default generator of the CPU gives the numbers of this seed; then it goes on where it was. A node that
/// is restarted initializes what it initialized before.
class FixedSeed {
  public:
    explicit FixedSeed(std::uint64_t seed) : generator_(at::detail::getDefaultCPUGenerator()) {
        const std::lock_guard<std::mutex> lock(generator_.mutex());
        before_ = generator_.get_state();
        generator_.set_current_seed(seed);
    }
    FixedSeed(const FixedSeed&) = delete;
    FixedSeed& operator=(const FixedSeed&) = delete;
    ~FixedSeed() {
        const std::lock_guard<std::mutex> lock(generator_.mutex());
        generator_.set_state(before_);
    }

  private:
    at::Generator generator_;
    at::Tensor before_;
};

}  // namespace retort::community::detail
