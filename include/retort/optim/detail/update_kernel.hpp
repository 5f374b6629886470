// SPDX-License-Identifier: BSL-1.0
/// \file
/// Optimizer updates on the CPU: one loop over the elements of all parameters.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <retort/detail/compat.hpp>
#include <retort/detail/parallel.hpp>

namespace retort::detail {

/// How many elements a kernel processes at once: a constant, so that the compiler vectorizes the loops at every
/// optimization level that vectorizes at all.
inline constexpr int update_block = 16;

/// Placed before a loop over a block whose elements do not depend on each other.
#if defined(__clang__)
#define RETORT_UPDATE_LOOP _Pragma("clang loop vectorize(assume_safety)")
#else
#define RETORT_UPDATE_LOOP _Pragma("GCC ivdep")
#endif

// LibTorch's kernels for AVX2 and later compute a * b + c with one rounding, those for older CPUs with two; ours do
// the same. If the program is not compiled for AVX2, separate functions are.
#if defined(__x86_64__) && !defined(__FMA__)
#define RETORT_UPDATE_FOR_AVX2 __attribute__((target("avx2,fma")))
#endif

/// a * b + c, with one rounding or with two.
template <bool fused, class T>
[[gnu::always_inline]] inline T multiply_add(T a, T b, T c) {
    if constexpr (fused) {
        return std::fma(a, b, c);
    } else {
        return a * b + c;
    }
}

/// Square roots of a block.
template <bool fused, class T>
[[gnu::always_inline]] inline void square_roots(T (&values)[update_block]) {
#if defined(__x86_64__) && (defined(RETORT_UPDATE_FOR_AVX2) || defined(__AVX__))
    // The compiler does not vectorize std::sqrt, which may have to set errno.
    if constexpr (fused) {
        constexpr std::size_t width = 32 / sizeof(T);
        struct Lanes {
            T of[width];
        };
        for (std::size_t i = 0; i < update_block; i += width) {
            auto& lanes = reinterpret_cast<Lanes&>(values[i]);
            if constexpr (sizeof(T) == sizeof(float)) {
                __asm__("vsqrtps %0, %%ymm0\n\tvmovups %%ymm0, %0" : "+m"(lanes) : : "xmm0");
            } else {
                __asm__("vsqrtpd %0, %%ymm0\n\tvmovupd %%ymm0, %0" : "+m"(lanes) : : "xmm0");
            }
        }
        return;
    }
#endif
    for (T& each : values) each = std::sqrt(each);
}

/// Calls `kernel.block<fused>(i, count)` for the elements [begin, end) in blocks.
template <bool fused, class Kernel>
[[gnu::always_inline]] inline void run_blocks(const Kernel& kernel, std::int64_t begin, std::int64_t end) {
    for (; end - begin >= update_block; begin += update_block)
        kernel.template block<fused>(begin, update_block);
    if (begin < end) kernel.template block<fused>(begin, static_cast<int>(end - begin));
}

#ifdef RETORT_UPDATE_FOR_AVX2
template <class Kernel>
RETORT_UPDATE_FOR_AVX2 void run_for_avx2(const Kernel& kernel, std::int64_t begin, std::int64_t end) {
    run_blocks<true>(kernel, begin, end);
    // Without this, SSE instructions that follow would be slow.
    __asm__ volatile("vzeroupper");
}
#endif

/// Runs a kernel on the elements [begin, end).
template <class Kernel>
void run_kernel(const Kernel& kernel, std::int64_t begin, std::int64_t end) {
#if defined(RETORT_UPDATE_FOR_AVX2)
    if (compat::kernels_for_avx2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        run_for_avx2(kernel, begin, end);
    } else {
        run_blocks<false>(kernel, begin, end);
    }
#elif defined(__FMA__) || defined(__FP_FAST_FMA)
    run_blocks<true>(kernel, begin, end);
#else
    run_blocks<false>(kernel, begin, end);
#endif
}

/// Updates of many parameters, run together.
template <class Kernel>
class Updates {
  public:
    void add(const Kernel& kernel, std::int64_t size) {
        if (size == 0) return;
        kernels_.push_back(kernel);
        ends_.push_back((ends_.empty() ? 0 : ends_.back()) + size);
    }
    /// Runs and clears them. The results do not depend on the number of threads.
    void run() {
        if (ends_.empty()) return;
        parallel_pieces(ends_.back(), piece, [this](std::int64_t begin, std::int64_t size) {
            auto at =
                static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
            for (const std::int64_t end = begin + size; begin < end; ++at) {
                const std::int64_t first = at == 0 ? 0 : ends_[at - 1];
                const std::int64_t last = std::min(end, ends_[at]);
                run_kernel(kernels_[at], begin - first, last - first);
                begin = last;
            }
        });
        kernels_.clear();
        ends_.clear();
    }

  private:
    static constexpr std::int64_t piece = std::int64_t{1} << 15;
    std::vector<Kernel> kernels_;
    std::vector<std::int64_t> ends_;  // of each kernel's elements among those of all
};

}  // namespace retort::detail
