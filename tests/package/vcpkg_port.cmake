# SPDX-License-Identifier: BSL-1.0
#
# Runs the vcpkg port with stand-ins for vcpkg's own functions, and checks the result against the rules that vcpkg enforces.
#
#   cmake -D source=<checkout> -D root=<folder for the result> -D version=<version> -D generator=<generator>
#         -D "options=<more options of the configuration>" -P vcpkg_port.cmake
cmake_minimum_required(VERSION 3.25)

set(port_dir "${source}/cmake/vcpkg/ports/retort")
set(PORT retort)
set(CURRENT_PACKAGES_DIR "${root}/packages")
file(REMOVE_RECURSE "${root}")

function(vcpkg_check_features)
    cmake_parse_arguments(PARSE_ARGV 0 argument "" "OUT_FEATURE_OPTIONS" "FEATURES")
    set(result)
    while(argument_FEATURES)
        list(POP_FRONT argument_FEATURES feature variable)
        list(APPEND result "-D${variable}=ON")
    endwhile()
    set(${argument_OUT_FEATURE_OPTIONS} "${result}" PARENT_SCOPE)
endfunction()

function(vcpkg_cmake_configure)
    cmake_parse_arguments(PARSE_ARGV 0 argument "" "SOURCE_PATH" "OPTIONS")
    if(argument_UNPARSED_ARGUMENTS OR NOT VCPKG_BUILD_TYPE STREQUAL "release")
        message(FATAL_ERROR "vcpkg_cmake_configure: ${argument_UNPARSED_ARGUMENTS}")
    endif()
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -G "${generator}" -S "${argument_SOURCE_PATH}" -B "${root}/build" ${argument_OPTIONS}
                ${options} "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}" -DCMAKE_BUILD_TYPE=Release
                COMMAND_ERROR_IS_FATAL ANY
        OUTPUT_QUIET)
endfunction()

function(vcpkg_cmake_install)
    execute_process(COMMAND "${CMAKE_COMMAND}" --build "${root}/build" --target install COMMAND_ERROR_IS_FATAL ANY
                    OUTPUT_QUIET)
endfunction()

function(vcpkg_cmake_config_fixup)
    if(ARGN OR NOT EXISTS "${CURRENT_PACKAGES_DIR}/share/${PORT}/retortConfig.cmake")
        message(FATAL_ERROR "vcpkg expects the CMake package in share/${PORT}")
    endif()
endfunction()

function(vcpkg_install_copyright)
    cmake_parse_arguments(PARSE_ARGV 0 argument "" "" "FILE_LIST")
    configure_file("${argument_FILE_LIST}" "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright" COPYONLY)
endfunction()

include("${port_dir}/portfile.cmake")

foreach(file IN ITEMS include/retort/retort.hpp share/retort/copyright share/retort/usage share/retort/retortTargets.cmake)
    if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/${file}")
        message(FATAL_ERROR "the port did not install ${file}")
    endif()
endforeach()
file(GLOB folders RELATIVE "${CURRENT_PACKAGES_DIR}" "${CURRENT_PACKAGES_DIR}/*")
list(SORT folders)
if(NOT folders STREQUAL "include;share")
    message(FATAL_ERROR "a header-only port installs include and share, this one ${folders}")
endif()
file(GLOB folders RELATIVE "${CURRENT_PACKAGES_DIR}" "${CURRENT_PACKAGES_DIR}/share/*")
if(NOT folders STREQUAL "share/retort")
    message(FATAL_ERROR "in share a port may only have its own folder, this one has ${folders}")
endif()

foreach(manifest IN ITEMS "${source}/vcpkg.json" "${port_dir}/vcpkg.json")
    file(READ "${manifest}" text)
    string(JSON found GET "${text}" version)
    if(NOT found STREQUAL version)
        message(FATAL_ERROR "${manifest} has version ${found}, include/retort/version.hpp ${version}")
    endif()
endforeach()

file(READ "${source}/cmake/vcpkg/system-libtorch/libtorch/portfile.cmake" text)
string(FIND "${text}" "set(VCPKG_POLICY_EMPTY_PACKAGE enabled)" at)
file(READ "${source}/cmake/vcpkg/system-libtorch/libtorch/vcpkg.json" manifest)
string(JSON found GET "${manifest}" name)
if(at EQUAL -1 OR NOT found STREQUAL "libtorch")
    message(FATAL_ERROR "the overlay of LibTorch is not an empty package")
endif()
