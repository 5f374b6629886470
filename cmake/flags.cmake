# SPDX-License-Identifier: BSL-1.0
#
# Flags for the project's tests, examples and benchmarks. They are never set on `retort` itself, which would pass them to
# all users.
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
                  # A mismatched precompiled header would silently be parsed again, which costs minutes.
                  -Winvalid-pch)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Shows why a nested concept is not satisfied, not only that it is not.
    target_compile_options(retort_flags INTERFACE -fconcepts-diagnostics-depth=4)
endif()
