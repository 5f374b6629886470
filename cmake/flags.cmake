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
                  # Later compilers warn of things in LibTorch's own headers, which look like ours when they come
                  # out of a precompiled header (-Wmaybe-uninitialized in c10::SmallVector with GCC 14).
                  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Werror>
                  # A precompiled header that does not fit would silently be parsed again, which costs minutes.
                  -Winvalid-pch)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Shows why an inner concept does not hold, not only that it does not.
    target_compile_options(retort_flags INTERFACE -fconcepts-diagnostics-depth=4)
endif()
