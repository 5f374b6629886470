# SPDX-License-Identifier: BSL-1.0
#
#   cmake -D build=<build folder> -D source=<checkout> -D root=<folder for the result> [-D torch_dir=<folder>]
#         -P install.cmake
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${root}")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${build}" --prefix "${root}/first" COMMAND_ERROR_IS_FATAL ANY)
file(RENAME "${root}/first" "${root}/moved")

file(GLOB_RECURSE installed "${root}/moved/*")
list(FILTER installed INCLUDE REGEX "/retort\\.hpp$|Config\\.cmake$|ConfigVersion\\.cmake$|Targets\\.cmake$|/LICENSE$")
list(LENGTH installed count)
if(count LESS 5)
    message(FATAL_ERROR "expected headers, three CMake files and the license, found only ${installed}")
endif()

file(GLOB_RECURSE installed "${root}/moved/*")
foreach(file IN LISTS installed)
    file(READ "${file}" text)
    foreach(path IN ITEMS "${source}" "${build}" "${root}" "${torch_dir}" "libc10" "libtorch" "/usr/")
        # `get_filename_component(... "/usr/..." REALPATH)` compares prefixes in CMake's own boilerplate.
        string(REGEX REPLACE "[^\n]*_realOrig[^\n]*\n" "" text "${text}")
        string(FIND "${text}" "${path}" at)
        if(path AND NOT at EQUAL -1)
            message(FATAL_ERROR "${file} contains the path ${path}, which does not exist on another machine")
        endif()
    endforeach()
endforeach()
