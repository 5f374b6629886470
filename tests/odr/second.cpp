// SPDX-License-Identifier: BSL-1.0
/// \file
/// The other half of the program; one is first.cpp.
#include <retort_test.hpp>

#include <retort/retort.hpp>

#include "parts.hpp"

namespace odr {
Parts first();
}

TEST_CASE("two translation units see one library") {
    const auto first = odr::first();
    const auto second = odr::parts();
    CHECK(first.function == second.function);
    CHECK(*first.type == *second.type);
    CHECK(first.sizes == second.sizes);
    CHECK(first.loss == second.loss);
}
