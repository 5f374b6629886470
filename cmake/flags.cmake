# SPDX-License-Identifier: BSL-1.0
#
# The flags of our own tests, examples and benchmarks. They are never put on `retort` itself, where they would reach
# everybody who links it.
option(RETORT_WARNINGS_AS_ERRORS "Warnings in tests, examples and benchmarks are errors" OFF)

add_library(retort_flags INTERFACE)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    target_compile_options(
        retort_flags
        INTERFACE -Wall
                  -Wextra
                  -Wpedantic
                  -Wshadow
                  -Wconversion
                  $<$<BOOL:${RETORT_WARNINGS_AS_ERRORS}>:-Werror>
                  # A precompiled header that does not fit would silently be parsed again, which costs minutes.
                  -Winvalid-pch)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Shows why an inner concept does not hold, not only that it does not.
    target_compile_options(retort_flags INTERFACE -fconcepts-diagnostics-depth=4)
endif()
