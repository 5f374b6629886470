# SPDX-License-Identifier: BSL-1.0
#
# LibTorch from PyPI's default wheel, without its CUDA half. The wheel's own TorchConfig.cmake requires a CUDA toolkit
# when CMake configures; a program that computes on the CPU links libtorch_cpu and libc10, which need no toolkit.
#
#   export CMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')
#   export Torch_DIR=<retort>/cmake/torch_wheel
#
# or -DTorch_DIR=<retort>/cmake/torch_wheel -DRETORT_TORCH_WHEEL=<the folder torch/ of an unpacked wheel>.
if(NOT RETORT_TORCH_WHEEL)
    set(prefixes "$ENV{CMAKE_PREFIX_PATH}")
    string(REPLACE ":" ";" prefixes "${prefixes}")
    foreach(prefix IN LISTS CMAKE_PREFIX_PATH prefixes)
        cmake_path(ABSOLUTE_PATH prefix NORMALIZE)
        string(REGEX REPLACE "/share/cmake/?$" "" prefix "${prefix}")
        if(EXISTS "${prefix}/lib/libtorch_cpu.so" AND EXISTS "${prefix}/version.py")
            set(RETORT_TORCH_WHEEL "${prefix}")
            break()
        endif()
    endforeach()
endif()
set(RETORT_TORCH_WHEEL "${RETORT_TORCH_WHEEL}" CACHE PATH "The folder torch/ of PyPI's wheel of PyTorch")
if(NOT EXISTS "${RETORT_TORCH_WHEEL}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "retort: expected the folder torch/ of PyPI's wheel of PyTorch in RETORT_TORCH_WHEEL or, with "
                        "/share/cmake, in CMAKE_PREFIX_PATH; found \"${RETORT_TORCH_WHEEL}\"")
endif()

file(STRINGS "${RETORT_TORCH_WHEEL}/version.py" version REGEX "^__version__")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" Torch_VERSION "${version}")
set(TORCH_INCLUDE_DIRS "${RETORT_TORCH_WHEEL}/include" "${RETORT_TORCH_WHEEL}/include/torch/csrc/api/include")
set(TORCH_CXX_FLAGS "")
if(Torch_VERSION VERSION_LESS 2.7)
    set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI=0")  # what PyPI's wheels were built with until then
endif()
if(NOT TARGET torch)
    add_library(torch SHARED IMPORTED)
    set_target_properties(
        torch
        PROPERTIES IMPORTED_LOCATION "${RETORT_TORCH_WHEEL}/lib/libtorch_cpu.so"
                   INTERFACE_INCLUDE_DIRECTORIES "${TORCH_INCLUDE_DIRS}"
                   INTERFACE_COMPILE_OPTIONS "${TORCH_CXX_FLAGS}"
                   INTERFACE_LINK_LIBRARIES "${RETORT_TORCH_WHEEL}/lib/libc10.so"
                   # The dependencies of libtorch_cpu are found through its own run path, not when a program is linked.
                   INTERFACE_LINK_OPTIONS "-Wl,--unresolved-symbols=ignore-in-shared-libs")
endif()
set(TORCH_LIBRARIES torch)
set(TORCH_FOUND TRUE)
set(Torch_FOUND TRUE)
