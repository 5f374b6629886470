# SPDX-License-Identifier: BSL-1.0
#
# Creates `retort::torch`, the target through which retort links LibTorch. Used by the build and the installed package.
#
# LibTorch's own package provides a target `torch`. Others, ConanCenter's among them, provide only the variable
# TORCH_LIBRARIES. That variable is never linked if `torch` exists: it contains absolute paths, which would end up in the
# exported targets.
if(NOT TARGET retort::torch)
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
