// SPDX-License-Identifier: BSL-1.0
/// \file
/// What differs between versions of LibTorch.
#pragma once

#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>
#include <torch/version.h>

#include <string>

// Whether LibTorch has torch::inductor::AOTIModelPackageLoader in its current form.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 6)
#define RETORT_HAS_PACKAGE_LOADER 1
#else
#define RETORT_HAS_PACKAGE_LOADER 0
#endif

namespace retort::detail::compat {

// Element types that only newer versions have; Undefined in the others.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 1)
inline constexpr at::ScalarType float8_e4m3fn = at::ScalarType::Float8_e4m3fn;
inline constexpr at::ScalarType float8_e5m2 = at::ScalarType::Float8_e5m2;
#else
inline constexpr at::ScalarType float8_e4m3fn = at::ScalarType::Undefined;
inline constexpr at::ScalarType float8_e5m2 = at::ScalarType::Undefined;
#endif
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 2)
inline constexpr at::ScalarType float8_e4m3fnuz = at::ScalarType::Float8_e4m3fnuz;
inline constexpr at::ScalarType float8_e5m2fnuz = at::ScalarType::Float8_e5m2fnuz;
#else
inline constexpr at::ScalarType float8_e4m3fnuz = at::ScalarType::Undefined;
inline constexpr at::ScalarType float8_e5m2fnuz = at::ScalarType::Undefined;
#endif
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 3)
inline constexpr at::ScalarType uint16 = at::ScalarType::UInt16;
inline constexpr at::ScalarType uint32 = at::ScalarType::UInt32;
inline constexpr at::ScalarType uint64 = at::ScalarType::UInt64;
#else
inline constexpr at::ScalarType uint16 = at::ScalarType::Undefined;
inline constexpr at::ScalarType uint32 = at::ScalarType::Undefined;
inline constexpr at::ScalarType uint64 = at::ScalarType::Undefined;
#endif
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 7)
inline constexpr at::ScalarType float8_e8m0fnu = at::ScalarType::Float8_e8m0fnu;
#else
inline constexpr at::ScalarType float8_e8m0fnu = at::ScalarType::Undefined;
#endif

/// Whether convolutions, matrix products and their gradients in float16 run on the CPU: LibTorch 1.13 has none of them;
/// versions in between are untested.
inline constexpr bool float16_on_cpu = TORCH_VERSION_MAJOR > 2 ||
                                       (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 6);

/// Whether LibTorch uses its kernels for AVX2 or later, which depends on the CPU and on the environment variable
/// ATEN_CPU_CAPABILITY. Only newer versions export a function for this; all of them state it in their
/// configuration.
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
// Older versions have one pair of functions for the CPU and another for CUDA.
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
