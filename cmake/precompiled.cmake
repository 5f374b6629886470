# SPDX-License-Identifier: BSL-1.0
#
# One precompiled header for tests and examples. Parsing LibTorch takes most of the time of a compilation. It contains
# only third-party headers: a change in retort's own rebuilds only what includes it.
find_package(Catch2 REQUIRED)

file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp" CONTENT "")
add_library(retort_pch OBJECT EXCLUDE_FROM_ALL "${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp")
target_link_libraries(retort_pch PRIVATE retort::retort Catch2::Catch2 retort_flags)
target_precompile_headers(retort_pch PRIVATE "${PROJECT_SOURCE_DIR}/tests/support/torch_and_catch.hpp")
