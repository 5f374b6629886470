// SPDX-License-Identifier: BSL-1.0
/// \file
/// LibTorch and Catch2 (2 or 3), in the order in which they get along. The only place that includes Catch2.
#pragma once

// LibTorch comes first and loses its own CHECK: with Catch2 in front of it, every CHECK of a test would
// become LibTorch's, which aborts the program.
#include <torch/torch.h>

#undef CHECK
#undef CHECK_EQ
#undef CHECK_NE
#undef CHECK_LT
#undef CHECK_LE
#undef CHECK_GT
#undef CHECK_GE

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>

// What later versions call otherwise, under the names of Catch2 2.
using Catch::Approx;
namespace Catch {
inline Matchers::StringContainsMatcher Contains(const std::string& part) {
    return Matchers::ContainsSubstring(part);
}
using Matchers::EndsWith;
using Matchers::Equals;
using Matchers::StartsWith;
}  // namespace Catch
#else
#include <catch2/catch.hpp>
#endif
