# SPDX-License-Identifier: BSL-1.0
#
# The flags of our own tests, examples and benchmarks. They are never put on `retort` itself, where they would reach
# everybody who links it.
add_library(retort_flags INTERFACE)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    target_compile_options(
        retort_flags
        INTERFACE -Wall
                  -Wextra
                  -Wshadow
                  -Wconversion
                  -Werror
                  # A precompiled header that does not fit would silently be parsed again, which costs minutes.
                  -Winvalid-pch)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 14 reports it within LibTorch's own SmallVector, which the precompiled header makes look like ours.
    target_compile_options(retort_flags INTERFACE -Wno-maybe-uninitialized)
    # Shows why an inner concept does not hold, not only that it does not.
    target_compile_options(retort_flags INTERFACE -fconcepts-diagnostics-depth=4)
endif()
