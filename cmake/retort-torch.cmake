# SPDX-License-Identifier: BSL-1.0
#
# Makes `retort::torch`, the one name under which retort links LibTorch. Used by the build and by the installed package.
#
# LibTorch's own package gives a target `torch`. Others, ConanCenter's among them, give only the variable
# TORCH_LIBRARIES. That variable is never linked where `torch` exists: it holds absolute paths, which would be written
# into the exported targets.
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
        message(FATAL_ERROR "retort: LibTorch was found, but it gives neither a target `torch` nor TORCH_LIBRARIES.")
    endif()
endif()
