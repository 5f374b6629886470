// SPDX-License-Identifier: BSL-1.0
/// \file
/// One half of the program; the other is second.cpp.
#include <retort_test.hpp>

#include <retort/retort.hpp>

#include "parts.hpp"

namespace odr {
Parts first() { return parts(); }
}  // namespace odr
