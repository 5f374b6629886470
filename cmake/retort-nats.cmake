# SPDX-License-Identifier: BSL-1.0
#
# Makes `retort::nats`, the one name under which retort links NATS's C client, if that is here in version 3.4 or later.
# Used by the build and by the installed package.
#
# A shared library is found by itself: Debian's CMake package names files that its packages do not have, and stops. Others
# (Conan, vcpkg) are found by their CMake package, which knows what a static library needs.
if(NOT TARGET retort::nats)
    find_path(RETORT_NATS_INCLUDE_DIR nats/nats.h)
    find_library(RETORT_NATS_LIBRARY nats)
    mark_as_advanced(RETORT_NATS_INCLUDE_DIR RETORT_NATS_LIBRARY)
    if(RETORT_NATS_INCLUDE_DIR AND RETORT_NATS_LIBRARY MATCHES "\\.(so|dylib)(\\.|$)")
        file(STRINGS "${RETORT_NATS_INCLUDE_DIR}/nats/version.h" retort_nats_version
             REGEX "#define NATS_VERSION_STRING +\"[0-9.]+")
        string(REGEX REPLACE ".*\"([0-9.]+).*" "\\1" retort_nats_version "${retort_nats_version}")
        if(retort_nats_version VERSION_GREATER_EQUAL 3.4)
            add_library(retort::nats INTERFACE IMPORTED GLOBAL)
            set_target_properties(
                retort::nats PROPERTIES INTERFACE_LINK_LIBRARIES "${RETORT_NATS_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES
                                                                                         "${RETORT_NATS_INCLUDE_DIR}")
        endif()
    else()
        find_package(cnats CONFIG QUIET)
        foreach(retort_nats IN ITEMS cnats::nats cnats::nats_static)
            if(TARGET ${retort_nats} AND NOT TARGET retort::nats)
                set_target_properties(${retort_nats} PROPERTIES IMPORTED_GLOBAL ON)
                add_library(retort::nats INTERFACE IMPORTED GLOBAL)
                set_target_properties(retort::nats PROPERTIES INTERFACE_LINK_LIBRARIES ${retort_nats})
            endif()
        endforeach()
    endif()
endif()
