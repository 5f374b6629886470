// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher that LibTorch before 2.6 cannot load.
#include <retort_test.hpp>

#include <retort/teacher/compiled.hpp>

#if defined(RETORT_CASE_compiled_with_an_old_libtorch)
// expect: retort: Compiled needs LibTorch 2.6 or later
namespace compiled_with_an_old_libtorch {
[[maybe_unused]] void run() { retort::Compiled{"teacher.pt2", {.input = {-1, 3, 32, 32}}}; }
}  // namespace compiled_with_an_old_libtorch
#elif !defined(RETORT_CASE)
namespace compiled_with_an_old_libtorch {
[[maybe_unused]] retort::CompiledOptions options() { return {.input = {-1, 3, 32, 32}}; }
}  // namespace compiled_with_an_old_libtorch
#endif
