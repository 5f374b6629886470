// SPDX-License-Identifier: BSL-1.0
/// \file
/// Finds NaN and infinity in tensors.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <retort/detail/parallel.hpp>

namespace retort::detail {

/// Whether one of the numbers is NaN or infinite, that is, has all bits of its exponent set. Integers, since compilers
/// may assume that floating-point numbers are finite.
/// \tparam Bits an unsigned integer of the size of the numbers
/// \param exponent the bits of the exponent
template <class Bits>
bool any_non_finite(const void* numbers, std::int64_t count, Bits exponent) {
    constexpr std::int64_t block = 32;
    // The lowest bit of the exponent carries into the sign where all of them are set.
    const auto lowest = static_cast<Bits>(exponent & (~exponent + 1));
    Bits found[block] = {};
    const char* bytes = static_cast<const char*>(numbers);
    const auto look = [&](std::int64_t size) {
        Bits bits[block] = {};
        std::memcpy(bits, bytes, static_cast<std::size_t>(size) * sizeof(Bits));
        for (std::int64_t i = 0; i < block; ++i)
            found[i] = static_cast<Bits>(found[i] | static_cast<Bits>((bits[i] & exponent) + lowest));
        bytes += size * static_cast<std::int64_t>(sizeof(Bits));
    };
    for (; count >= block; count -= block) look(block);
    if (count > 0) look(count);
    Bits any = 0;
    for (const Bits each : found) any = static_cast<Bits>(any | each);
    return (any >> (8 * sizeof(Bits) - 1)) != 0;
}

/// The same of a dense tensor on the CPU, without an operator.
inline bool any_non_finite(const at::Tensor& tensor) {
    std::atomic<bool> any = false;
    const auto width = static_cast<std::int64_t>(tensor.element_size());
    const char* data = static_cast<const char*>(tensor.data_ptr());
    parallel_pieces(tensor.numel(), std::int64_t{1} << 20, [&](std::int64_t begin, std::int64_t size) {
        const void* numbers = data + begin * width;
        const bool here = [&] {
            switch (tensor.scalar_type()) {
                case at::kDouble:
                    return any_non_finite<std::uint64_t>(numbers, size, 0x7FF0000000000000U);
                case at::kFloat:
                    return any_non_finite<std::uint32_t>(numbers, size, 0x7F800000U);
                case at::kBFloat16:
                    return any_non_finite<std::uint16_t>(numbers, size, 0x7F80U);
                default:
                    return any_non_finite<std::uint16_t>(numbers, size, 0x7C00U);
            }
        }();
        if (here) any = true;
    });
    return any;
}

/// Whether one of the tensors, all on one device, has an element that is NaN or infinite: undefined if not, where this
/// is known without waiting for a device; otherwise a tensor without dimensions, 0 if not.
inline at::Tensor non_finite(const std::vector<at::Tensor>& tensors) {
    const at::NoGradGuard no_grad;
    at::Tensor found;
    std::vector<at::Tensor> on_device;
    const auto add = [&](const at::Tensor& flag) { found = found.defined() ? found + flag : flag; };
    for (const at::Tensor& each : tensors) {
        if (!each.defined() || each.numel() == 0) continue;
        const at::Tensor values = each.is_sparse() ? each._values() : each;
        const at::ScalarType type = values.scalar_type();
        const bool known =
            type == at::kFloat || type == at::kDouble || type == at::kBFloat16 || type == at::kHalf;
        if (known && values.device().is_cpu() && values.is_non_overlapping_and_dense()) {
            if (any_non_finite(values)) return at::ones({}, at::TensorOptions(at::kFloat));
        } else if (known && values.is_cuda()) {
            on_device.push_back(values);
        } else {
            add(values.isfinite().all().logical_not().to(at::kFloat));
        }
    }
    if (!on_device.empty()) {
        const auto options = at::TensorOptions(at::kFloat).device(on_device.front().device());
        at::Tensor flag = at::zeros({1}, options);
        at::_amp_foreach_non_finite_check_and_unscale_(on_device, flag, at::ones({1}, options));
        add(flag.squeeze(0));
    }
    return found;
}

}  // namespace retort::detail
