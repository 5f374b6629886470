// SPDX-License-Identifier: BSL-1.0
/// \file
/// The random generators of the program.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <mutex>
#include <vector>

namespace retort::detail {

/// The default generators that a run on this device draws from: the CPU's and the device's.
inline std::vector<at::Generator> generators_of(at::Device device) {
    std::vector<at::Generator> result{at::detail::getDefaultCPUGenerator()};
    if (!device.is_cpu()) result.push_back(at::globalContext().defaultGenerator(device));
    return result;
}

/// The states of these generators. Does not synchronize with the device.
inline std::vector<at::Tensor> random_state(at::Device device) {
    std::vector<at::Tensor> result;
    for (at::Generator& generator : generators_of(device)) {
        const std::lock_guard<std::mutex> lock(generator.mutex());
        result.push_back(generator.get_state());
    }
    return result;
}

/// Restores them.
inline void set_random_state(const std::vector<at::Tensor>& states, at::Device device) {
    auto state = states.begin();
    for (at::Generator& generator : generators_of(device)) {
        if (state == states.end()) return;
        const std::lock_guard<std::mutex> lock(generator.mutex());
        generator.set_state(*state++);
    }
}

}  // namespace retort::detail
