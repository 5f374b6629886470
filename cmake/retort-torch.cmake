# SPDX-License-Identifier: BSL-1.0
#
# Creates `retort::torch`, the target through which retort links LibTorch. Used by the build and the installed package.
#
# LibTorch's own package provides a target `torch`. Others, ConanCenter's among them, provide only the variable
# TORCH_LIBRARIES. That variable is never linked if `torch` exists: it contains absolute paths, which would end up in the
# exported targets, and if the system has a second LibTorch, it contains the `c10` of that one.
if(NOT TARGET retort::torch)
    # A project that has found Torch before may have a mixture of two: see retort-torch-dir.cmake.
    if(TARGET torch_cpu AND Torch_DIR)
        get_target_property(configurations torch_cpu IMPORTED_CONFIGURATIONS)
        list(GET configurations 0 configuration)
        get_target_property(linked torch_cpu "IMPORTED_LOCATION_${configuration}")
        cmake_path(GET linked FILENAME name)
        string(REGEX REPLACE "[.]so.*" ".so" name "${name}")
        file(REAL_PATH "${Torch_DIR}/../../../lib/${name}" own)
        file(REAL_PATH "${linked}" real)
        if(EXISTS "${own}" AND EXISTS "${real}" AND NOT own STREQUAL real)
            message(FATAL_ERROR "retort: expected one LibTorch, found two: the headers of ${Torch_DIR} with the libraries of "
                                "${linked}. Name the folder of the first in CMAKE_PREFIX_PATH, or its Caffe2 in Caffe2_DIR, "
                                "and configure a new build folder.")
        endif()
    endif()
    if(TARGET torch)
        add_library(retort::torch INTERFACE IMPORTED GLOBAL)
        set_target_properties(retort::torch PROPERTIES INTERFACE_LINK_LIBRARIES torch)
    elseif(TORCH_LIBRARIES)
        add_library(retort::torch INTERFACE IMPORTED GLOBAL)
        set_target_properties(
            retort::torch PROPERTIES INTERFACE_LINK_LIBRARIES "${TORCH_LIBRARIES}" INTERFACE_INCLUDE_DIRECTORIES
                                                                                   "${TORCH_INCLUDE_DIRS}")
    else()
        message(FATAL_ERROR "retort: LibTorch was found, but it provides neither a target `torch` nor TORCH_LIBRARIES.")
    endif()
endif()
