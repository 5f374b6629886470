// SPDX-License-Identifier: BSL-1.0
/// \file
/// The device on which tests compute.
#pragma once

#include <torch_and_catch.hpp>

#include <ATen/Context.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/device.hpp>

namespace retort_test {

/// The device that the environment variable RETORT_TEST_DEVICE names (`cuda`, `cuda:1`); by default the CPU. The
/// networks and batches of `small_networks.hpp` and the samples of `loss_laws.hpp` are there.
/// \throws retort::ConfigError if there is no such device
inline const at::Device& device() {
    static const at::Device result = [] {
        const char* const name = std::getenv("RETORT_TEST_DEVICE");
        const at::Device found = retort::device(name == nullptr || *name == '\0' ? "cpu" : name);
        if (!found.is_cpu()) {
            // Tests compare bits, and float32 is float32.
            at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
            at::globalContext().setDeterministicCuDNN(true);
            at::globalContext().setBenchmarkCuDNN(false);
            at::globalContext().setAllowTF32CuDNN(false);
            at::globalContext().setAllowTF32CuBLAS(false);
        }
        return found;
    }();
    return result;
}

/// The same on the device of the tests.
inline torch::Tensor on_device(const torch::Tensor& tensor) {
    return tensor.defined() ? tensor.to(device()) : tensor;
}
inline std::vector<torch::Tensor> on_device(std::vector<torch::Tensor> tensors) {
    for (torch::Tensor& each : tensors) each = on_device(each);
    return tensors;
}

}  // namespace retort_test
