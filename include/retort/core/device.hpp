// SPDX-License-Identifier: BSL-1.0
/// \file
/// Devices by name, and the number of threads LibTorch uses.
#pragma once

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/Device.h>

#include <algorithm>
#include <string>
#include <thread>

#include <retort/core/error.hpp>

namespace retort {

/// The device named `name`: `cpu`, `cuda`, `cuda:1`, or `auto` (a CUDA device if there is one, otherwise the CPU).
/// \throws ConfigError if the name is none of these or the device does not exist on this machine.
inline at::Device device(const std::string& name) {
    if (name == "auto") return at::Device(at::hasCUDA() ? at::kCUDA : at::kCPU);
    if (name == "cpu") return at::Device(at::kCPU);
    const bool indexed =
        name.starts_with("cuda:") && name.size() > 5 && name.size() <= 8 &&
        std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (name != "cuda" && !indexed) {
        throw ConfigError(detail::concat("device: expected cpu, cuda, cuda:N or auto, found \"", name, "\""));
    }
    if (!at::hasCUDA()) {
        throw ConfigError(
            detail::concat("device: \"", name, "\" requested, but LibTorch finds no CUDA device"));
    }
    const int index = indexed ? std::stoi(name.substr(5)) : 0;
    const auto count = static_cast<int>(at::getNumGPUs());
    if (index >= count) {
        throw ConfigError(
            detail::concat("device: \"", name, "\" requested, but there are only ", count, " CUDA devices"));
    }
    return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

namespace detail {
inline int cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }
}  // namespace detail

/// Makes LibTorch use `count` threads, or one per core if `count` is 0. Debian's LibTorch starts with one. This
/// affects the whole process and, through the order of summation, the last bits of results; the library therefore
/// never calls it on its own.
/// \throws ConfigError if `count` is negative.
inline void set_threads(int count = 0) {
    if (count < 0)
        throw ConfigError(detail::concat("threads: expected 0 (all cores) or more, found ", count));
    at::set_num_threads(count > 0 ? count : detail::cores());
}

}  // namespace retort
