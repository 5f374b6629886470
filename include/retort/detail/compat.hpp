// SPDX-License-Identifier: BSL-1.0
/// \file
/// What differs between versions of LibTorch.
#pragma once

#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DeviceType.h>
#include <torch/version.h>

#include <string>

// Whether LibTorch has torch::inductor::AOTIModelPackageLoader, in the form that it has since.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 6)
#define RETORT_HAS_PACKAGE_LOADER 1
#else
#define RETORT_HAS_PACKAGE_LOADER 0
#endif

namespace retort::detail::compat {

/// Whether convolutions, products of matrices and their gradients are there in float16 on processors: of older versions,
/// LibTorch 1.13 has none of them, and those in between were not tried.
inline constexpr bool float16_on_processors = TORCH_VERSION_MAJOR > 2 ||
                                              (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 6);

/// Whether LibTorch computes with its kernels for AVX2 or later: the processor decides, and the environment variable
/// ATEN_CPU_CAPABILITY. The function that says so is exported by newer versions only; all of them tell it in words.
inline bool kernels_for_avx2() {
    static const bool result = at::show_config().find("CPU capability usage: AVX") != std::string::npos;
    return result;
}

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
inline bool autocast_enabled(at::DeviceType device) { return at::autocast::is_autocast_enabled(device); }
inline void set_autocast_enabled(at::DeviceType device, bool enabled) {
    at::autocast::set_autocast_enabled(device, enabled);
}
inline at::ScalarType autocast_type(at::DeviceType device) {
    return at::autocast::get_autocast_dtype(device);
}
inline void set_autocast_type(at::DeviceType device, at::ScalarType type) {
    at::autocast::set_autocast_dtype(device, type);
}
#else
// One pair of functions for the processor, another for CUDA.
inline bool autocast_enabled(at::DeviceType device) {
    return device == at::kCPU ? at::autocast::is_cpu_enabled() : at::autocast::is_enabled();
}
inline void set_autocast_enabled(at::DeviceType device, bool enabled) {
    device == at::kCPU ? at::autocast::set_cpu_enabled(enabled) : at::autocast::set_enabled(enabled);
}
inline at::ScalarType autocast_type(at::DeviceType device) {
    return device == at::kCPU ? at::autocast::get_autocast_cpu_dtype()
                              : at::autocast::get_autocast_gpu_dtype();
}
inline void set_autocast_type(at::DeviceType device, at::ScalarType type) {
    device == at::kCPU ? at::autocast::set_autocast_cpu_dtype(type)
                       : at::autocast::set_autocast_gpu_dtype(type);
}
#endif

}  // namespace retort::detail::compat
